"""The supervisor dies, and the ranks with it; torchrun's own summary is understood."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from real_ranks import gone, launcher, start_stubborn, wait_for

from j2v_dagster.attempts.folder import Attempt
from j2v_dagster.launchers.supervise import failed_ranks

pytestmark = pytest.mark.slow


def test_the_sudden_death_of_the_supervisor_ends_the_ranks(job: Callable[..., Attempt]) -> None:
    one = launcher()
    handle, pids = start_stubborn(one, job("stubborn", "stubborn"))
    children = [int(line.text.split()[1]) for line in one.logs(handle, since={}) if line.text.startswith("ready")]
    os.kill(pids[0], signal.SIGKILL)
    # A rank's own children are its business once the kernel has to clean up; torchrun and the ranks must go.
    wait_for(lambda: gone([pid for pid in pids if pid not in children]), 20)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    assert one.status(handle).state == "failed"


def test_torchruns_summary_is_understood() -> None:
    text = b"""
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 10)
Root Cause (first observed failure):
[0]:
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 11)
"""
    assert list(failed_ranks(text).items()) == [(1, -9), (0, -15)]
    assert failed_ranks(b"nothing of the kind") == {}
