"""``python -m j2v_dagster.launchers.supervise LOG_FOLDER GRACE_S COMMAND...``: run a command, leave no process behind.

torchrun puts its ranks in sessions of their own, so ending its process group is not enough, and whoever started it may
die without a chance to end anything. This process is therefore the *subreaper* of everything below it: however its
descendants are orphaned, they stay its descendants. It ends all of them when

- standard input reaches its end: the pipe to whoever submitted the job, closed by its death, too;
- it gets SIGTERM or SIGINT;
- the command ends.

It asks with SIGINT, then SIGTERM, then SIGKILL, ``GRACE_S`` seconds apart, and writes ``exit.json`` last. Imports
neither torch nor dagster. Should it be killed itself, the kernel kills the command (see `j2v_dagster.launchers.rank`).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from j2v_dagster.launchers.processes import descendants
from j2v_dagster.launchers.rank import SUPERVISOR_VARIABLE, die_with_parent

EXIT_FILE = "exit.json"
LAUNCHER_LOG = "launcher.log"
_PR_SET_CHILD_SUBREAPER = 36
_RANK_FAILURE = re.compile(rb"rank\s*:\s*(\d+)\s*\(local_rank:.*?exitcode\s*:\s*(-?\d+)", re.DOTALL)


def end_descendants(root: int, grace_s: float) -> None:
    """SIGINT, SIGTERM and SIGKILL, ``grace_s`` seconds apart, until nothing runs below ``root``."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + grace_s
        signalled: set[psutil.Process] = set()
        while below := descendants(root):
            # Processes may be born while we look: ask newcomers as well, each once a stage.
            for process in set(below) - signalled:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
                signalled.add(process)
            _reap({})
            if time.monotonic() > deadline and number != signal.SIGKILL:
                break
            time.sleep(0.02)
        else:
            return


def failed_ranks(log: bytes) -> dict[int, int]:
    """Exit codes by rank from torchrun's own summary of failures, the rank that failed first at the front."""
    return {int(rank): int(code) for rank, code in reversed(_RANK_FAILURE.findall(log))}


def _reap(codes: dict[int, int]) -> dict[int, int]:
    """Collect ended children, adopted ones as well, into ``codes``."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return codes
        if pid == 0:
            return codes
        codes[pid] = os.waitstatus_to_exitcode(status)


def main() -> int:
    """Run the command; returns its exit code, or 130 if it was cancelled."""
    folder, grace_s, command = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stop.append(received))
    environment = {**os.environ, SUPERVISOR_VARIABLE: str(os.getpid())}
    with open(folder / LAUNCHER_LOG, "ab") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, preexec_fn=die_with_parent
        )
    codes: dict[int, int] = {}
    while child.pid not in _reap(codes) and not stop:
        readable, _, _ = select.select([sys.stdin], [], [], 0.1)
        if readable and not os.read(sys.stdin.fileno(), 1):
            stop.append(0)
    end_descendants(os.getpid(), grace_s)
    child.returncode = codes.get(child.pid, -signal.SIGKILL)  # reaped above; Popen must not wait for it again
    cancelled = bool(stop)
    result = {
        "exit_code": 130 if cancelled else child.returncode,
        "cancelled": cancelled,
        "failed_ranks": failed_ranks((folder / LAUNCHER_LOG).read_bytes()),
    }
    temporary = folder / f".{EXIT_FILE}.tmp"
    temporary.write_text(json.dumps(result))
    os.replace(temporary, folder / EXIT_FILE)
    return result["exit_code"]


if __name__ == "__main__":
    sys.exit(main())
