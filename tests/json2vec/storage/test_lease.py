"""`Lease`: the lock of a store that has nothing but conditional writes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from json2vec.errors import StoreError
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


def test_a_renewal_that_hangs_costs_the_lease_while_it_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store neither takes the renewal nor refuses it; others take the lease over meanwhile."""
    store, hanging = LocalStore(tmp_path), threading.Event()
    held = Lease(store, "lock", {"holder": "first"})
    held.acquire(0.0)
    write = LocalStore.write

    def hang(self: LocalStore, path: str, data: bytes, **conditions: Any) -> str:
        if self is store:
            hanging.wait(30)
        return write(self, path, data, **conditions)

    monkeypatch.setattr(LocalStore, "write", hang)
    second = Lease(LocalStore(tmp_path), "lock", {"holder": "second"})
    second.acquire(0.0)
    with pytest.raises(LockLost, match=r"/lock: its last renewal was \d+ s ago, and it runs out after 1 s"):
        held.check()
    hanging.set()
    wait_for(lambda: held._lost)
    held.release()
    second.check()
    second.release()


def test_a_check_fails_before_others_can_take_the_lease_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every age of the last renewal: whoever may be overtaken is told, with `RENEW_S` to spare."""
    now = [0.0]
    monkeypatch.setattr(lease, "_clock", lambda: now[0])
    held = Lease(LocalStore(tmp_path), "lock", {})
    assert held._try(None)
    for age in (0.0, 0.5, 0.89, 0.91, 1.0, 5.0):
        now[0] = age
        if age < lease.LEASE_S - lease.RENEW_S:
            held.check()
        else:
            with pytest.raises(LockLost):
                held.check()


def test_a_renewal_whose_reply_was_lost_is_recognised_as_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write arrives, the store reports an error, and the next renewal finds another version than it knows."""
    store = LocalStore(tmp_path)
    held = stopped_after(store)
    write = store.write

    def lost(path: str, data: bytes, **conditions: Any) -> str:
        write(path, data, **conditions)
        raise StoreError("no reply")

    monkeypatch.setattr(store, "write", lost)
    held._renewals += 1
    with pytest.raises(StoreError, match="no reply"):
        held._rewrite()
    monkeypatch.setattr(store, "write", write)
    held._renewals += 1
    held._version = held._rewrite()
    held.check()
    held.release()
    assert json.loads(store.read("lock"))["released"] is True


def test_a_lease_that_another_took_is_not_taken_for_our_own(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    held = stopped_after(store)
    for content in (b'{"token": "another"}', b"[]"):
        store.write("lock", content)
        with pytest.raises(FileExistsError):
            held._rewrite()


def stopped_after(store: LocalStore) -> Lease:
    held = Lease(store, "lock", {"holder": "first"})
    held.acquire(0.0)
    return stopped(held)
