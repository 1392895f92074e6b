"""The torchrun launcher, with real torchrun and real signals: nothing survives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_ranks import gone, launcher, start_stubborn, wait_for

from j2v_dagster.attempts.folder import Attempt
from j2v_dagster.launchers.contract import MODULE, LauncherContract
from j2v_dagster.launchers.processes import descendants

pytestmark = pytest.mark.slow


class TestTorchrunLauncher(LauncherContract):
    def config(self, module: str) -> dict[str, Any]:
        return {"kind": "torchrun", "module": module, "grace_s": 0.5}


def test_cancel_ends_stubborn_ranks_and_their_children(job: Callable[..., Attempt]) -> None:
    one = launcher()
    handle, pids = start_stubborn(one, job("stubborn", "stubborn"))
    one.cancel(handle)
    assert gone(pids)
    assert one.status(handle).state == "cancelled"


def test_the_sudden_death_of_the_submitter_ends_everything(job: Callable[..., Attempt], tmp_path: Path) -> None:
    attempt = job("stubborn", "stubborn")
    code = (
        "import sys, time\nsys.path[:0] = sys.argv[3].split(':')\n"
        "from j2v_dagster.launchers.torchrun import TorchrunLauncher\n"
        f"one = TorchrunLauncher(module={MODULE!r}, grace_s=0.5)\n"
        "print(one.submit(sys.argv[1], ranks=2, log_folder=sys.argv[2]), flush=True)\ntime.sleep(300)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(attempt.job_path), str(attempt.log_folder), ":".join(sys.path)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    handle, one = parent.stdout.readline(), launcher()
    pid = json.loads(handle)["pid"]
    wait_for(lambda: sum(line.text.startswith("ready") for line in one.logs(handle, since={})) == 2)
    pids = [pid, *(process.pid for process in descendants(pid))]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: gone(pids), 20)
    assert one.status(handle).state == "cancelled"
