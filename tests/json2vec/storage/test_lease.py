"""`Lease`: the lock of a store that has nothing but conditional writes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from json2vec.storage import lease
from json2vec.storage.lease import Lease
from json2vec.storage.local import LocalStore
from json2vec.storage.lock import LockHeld, LockLost


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 1.0)
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    monkeypatch.setattr(lease, "POLL_S", 0.02)


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stopped(held: Lease) -> Lease:
    """A lease whose process stands still or has died."""
    held._stop.set()
    assert held._thread is not None
    held._thread.join()
    return held


def test_a_living_holder_keeps_its_lease(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first = Lease(store, "lock", {"holder": "first"})
    first.acquire(0.0)
    began = time.monotonic()
    with pytest.raises(LockHeld, match=r"lock is held by another process: .*first.*Remedy"):
        Lease(store, "lock", {"holder": "second"}).acquire(1.5)
    assert time.monotonic() - began >= 1.5, "longer than a lease lasts without renewals"
    first.check()
    first.release()
    assert json.loads(store.read("lock"))["released"] is True


def test_a_dead_holder_loses_it_and_one_that_stood_still_finds_out(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    paused = Lease(store, "lock", {"holder": "first"})
    paused.acquire(0.0)
    stopped(paused)
    second = Lease(store, "lock", {"holder": "second"})
    second.acquire(0.0)
    paused._stop.clear()
    paused._renew()  # it wakes up
    with pytest.raises(LockLost, match=r"/lock: another run took it over"):
        paused.check()
    paused.release()  # lets go of nothing that is not its own
    second.check()
    second.release()
    assert json.loads(store.read("lock"))["holder"] == "second"


def test_a_store_that_is_away_for_long_costs_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    held = Lease(store, "lock", {"holder": "first"})
    held.acquire(0.0)

    def away(*arguments: Any, **options: Any) -> str:
        raise FileNotFoundError("the server is away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", away)
        wait_for(lambda: held._lost)
    with pytest.raises(LockLost, match="could not be renewed: the server is away"):
        held.check()
