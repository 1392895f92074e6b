"""Processes told apart from later ones with the same id, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from j2v_dagster.launchers import processes
from j2v_dagster.launchers.processes import descendants, is_running, started_at

SLEEP = "import time; time.sleep(300)"
# Starts one process below itself, which starts another; each prints its id.
CHAIN = f"""
import os, subprocess, sys
print(os.getpid(), flush=True)
depth = int(sys.argv[1])
if depth:
    subprocess.run([sys.executable, "-c", os.environ["CHAIN"], str(depth - 1)])
else:
    {SLEEP}
"""


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that is killed, with all below it, at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", *arguments], stdout=subprocess.PIPE, env={**os.environ, "CHAIN": CHAIN}
    )
    try:
        yield process
    finally:
        for below in [*reversed(descendants(process.pid)), process]:
            below.kill()
        process.communicate()


def test_descendants_come_with_parents_before_children_and_without_the_root() -> None:
    with running(CHAIN, "2") as process:
        assert process.stdout is not None
        ids = [int(process.stdout.readline()) for _ in range(3)]
        assert ids[0] == process.pid
        assert [below.pid for below in descendants(process.pid)] == ids[1:]


def test_a_zombie_is_no_descendant_and_does_not_run() -> None:
    with running("pass") as process:
        started = started_at(process.pid)
        deadline = time.monotonic() + 30
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.01)
        assert started is not None
        assert started_at(process.pid) == started
        assert not is_running(process.pid, started)
        assert process.pid not in [below.pid for below in descendants(os.getpid())]


def test_a_process_that_has_ended_neither_runs_nor_has_descendants() -> None:
    with running(SLEEP) as process:
        started = started_at(process.pid)
        assert is_running(process.pid, started)
    assert process.returncode == -signal.SIGKILL
    assert not is_running(process.pid, started)
    assert started_at(process.pid) is None
    assert descendants(process.pid) == []


def test_a_later_process_with_the_same_id_is_another_one() -> None:
    started = started_at(os.getpid())
    assert started is not None
    assert is_running(os.getpid(), started)
    assert not is_running(os.getpid(), started - 0.01)
    assert not is_running(os.getpid(), None)


@pytest.mark.skipif(sys.platform != "linux", reason="reaches into how psutil reads Linux")
def test_a_clock_that_is_set_does_not_make_another_process_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before, boot = psutil.Process().create_time(), psutil.boot_time()
    started = started_at(os.getpid())
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 3600.0)
    assert psutil.Process().create_time() == pytest.approx(before + 3600)
    assert started_at(os.getpid()) == started
    assert is_running(os.getpid(), started)


def test_only_plain_python_and_psutil_are_loaded_to_watch_over_ranks() -> None:
    code = "import j2v_dagster.launchers.supervise, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"psutil", processes.__name__.partition(".")[0]} <= set(loaded)
    assert not {"torch", "dagster", "pyarrow"} & set(loaded)
