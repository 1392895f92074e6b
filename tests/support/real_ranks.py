"""Real ranks under torchrun, from the contract of a launcher, and attempts for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from j2v_dagster.attempts.folder import Attempt
from j2v_dagster.launchers.contract import MODULE
from j2v_dagster.launchers.processes import descendants
from j2v_dagster.launchers.torchrun import TorchrunLauncher
from json2vec.storage.local import LocalStore


def attempt_in(name: str, folder: Path) -> Attempt:
    return Attempt(name, folder, LocalStore(folder))


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Attempt]:
    def make(*what: str) -> Attempt:
        attempt = attempt_in("a1", tmp_path / "attempt")
        attempt.path.mkdir()
        attempt.job_path.write_text(json.dumps({"what": what}))
        return attempt

    return make


def launcher(grace_s: float = 0.5) -> TorchrunLauncher:
    return TorchrunLauncher(module=MODULE, grace_s=grace_s)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> object:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing within {seconds} s")


def gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def start_stubborn(one: TorchrunLauncher, attempt: Attempt) -> tuple[str, list[int]]:
    """Two stubborn ranks: the handle, and the ids of supervisor, torchrun, ranks and their children."""
    handle = one.submit(str(attempt.job_path), ranks=2, log_folder=str(attempt.log_folder))
    pid = json.loads(handle)["pid"]
    wait_for(lambda: sum(line.text.startswith("ready") for line in one.logs(handle, since={})) == 2)
    pids = [pid, *(process.pid for process in descendants(pid))]
    assert len(pids) == 6
    return handle, pids
