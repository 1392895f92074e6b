"""Ranks on this machine, started by torchrun and ended together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from j2v_dagster.launchers.base import LAUNCHER_RANK, LogLine, Status
from j2v_dagster.launchers.environment import rank_environment
from j2v_dagster.launchers.log_lines import log_lines
from j2v_dagster.launchers.processes import descendants, is_running, started_at
from j2v_dagster.launchers.rank import LOG_FOLDER_VARIABLE
from j2v_dagster.launchers.supervise import EXIT_FILE, LAUNCHER_LOG


class TorchrunLauncher:
    """``torchrun --standalone`` below a supervisor process that ends every rank when the job or its submitter ends.

    Args:
        module: what every rank runs with ``python -m MODULE JOB.json``.
        grace_s: seconds between SIGINT, SIGTERM and SIGKILL when a job is cancelled.
        threads: OMP_NUM_THREADS of each rank; default: the CPUs of this process over the ranks, at least 1.
    """

    def __init__(self, *, module: str = "json2vec.predict", grace_s: float = 5.0, threads: int | None = None) -> None:
        self.module = module
        self.grace_s = grace_s
        self.threads = threads
        # The pipes to our supervisors: a job lives as long as its pipe stays open in this process.
        self._supervisors: dict[int, subprocess.Popen[bytes]] = {}

    def submit(self, job_path: str, *, ranks: int, log_folder: str) -> str:
        """Start ``ranks`` processes; returns a handle (JSON: supervisor's process id and start, log folder, ranks).

        Args:
            job_path: local path of the job.
            ranks: number of processes on this machine.
            log_folder: local folder for ``rank-N.log``, ``launcher.log`` and ``exit.json``; made if absent.
        """
        if ranks < 1:
            raise ValueError(f"ranks is {ranks}; expected at least 1")
        folder = Path(log_folder).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / EXIT_FILE).unlink(missing_ok=True)
        torchrun = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks),
            "--max-restarts", "0", "--log-dir", str(folder / "torchrun"),
            "-m", "j2v_dagster.launchers.rank", self.module, os.path.abspath(job_path),
        ]  # fmt: skip
        with open(folder / LAUNCHER_LOG, "ab") as log:
            supervisor = subprocess.Popen(
                [sys.executable, "-m", "j2v_dagster.launchers.supervise", str(folder), str(self.grace_s), *torchrun],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=self.environment(ranks, str(folder)),
                start_new_session=True,
            )
        self._supervisors[supervisor.pid] = supervisor
        return json.dumps(
            {"pid": supervisor.pid, "started": started_at(supervisor.pid), "log_folder": str(folder), "ranks": ranks}
        )

    def environment(self, ranks: int, log_folder: str) -> dict[str, str]:
        """The ranks' environment: see `rank_environment`."""
        threads = self.threads or max(1, _cpus() // ranks)
        return {**rank_environment(), "OMP_NUM_THREADS": str(threads), LOG_FOLDER_VARIABLE: log_folder}

    def status(self, handle: str) -> Status:
        """How the job fares; works in any process of this machine."""
        job = json.loads(handle)
        if (process := self._supervisors.get(job["pid"])) is not None:
            process.poll()  # reaps it
        ended = not is_running(job["pid"], job["started"])  # asked before the file is read: it may appear in between
        try:
            result = json.loads(Path(job["log_folder"], EXIT_FILE).read_text())
        except FileNotFoundError:
            if not ended:
                return Status("running")
            self._forget(job["pid"])
            return Status(
                "failed", message="the supervisor of the ranks died without a word; the kernel ended the ranks"
            )
        self._forget(job["pid"])
        if result["cancelled"]:
            return Status("cancelled", message="the ranks were ended on request")
        if result["exit_code"] == 0:
            return Status("succeeded", exit_codes=dict.fromkeys(range(job["ranks"]), 0))
        codes = {int(rank): code for rank, code in result["failed_ranks"].items()}
        return Status("failed", exit_codes=codes, message=f"torchrun ended with exit code {result['exit_code']}")

    def logs(self, handle: str, *, since: dict[int, int]) -> Iterator[LogLine]:
        """Complete lines after ``since``; rank `LAUNCHER_RANK` is torchrun itself."""
        job = json.loads(handle)
        for rank in (*range(job["ranks"]), LAUNCHER_RANK):
            name = LAUNCHER_LOG if rank == LAUNCHER_RANK else f"rank-{rank}.log"
            yield from log_lines(Path(job["log_folder"], name), rank, since.get(rank, 0))

    def cancel(self, handle: str) -> None:
        """End every process of the job: SIGINT, SIGTERM, SIGKILL, ``grace_s`` seconds apart."""
        job = json.loads(handle)
        pid, started = job["pid"], job["started"]
        if is_running(pid, started):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                return self._forget(pid)
            deadline = time.monotonic() + 3 * self.grace_s + 5.0
            while is_running(pid, started) and time.monotonic() < deadline:
                time.sleep(0.05)
            if is_running(pid, started):  # a supervisor that hangs: kill from the leaves up
                for process in reversed(descendants(pid)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return self._forget(pid)

    def _forget(self, pid: int) -> None:
        if (process := self._supervisors.pop(pid, None)) is not None:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
