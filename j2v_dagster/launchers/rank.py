"""``python -m j2v_dagster.launchers.rank MODULE JOB.json``: one rank under torchrun, tied to its parent's life.

Sends the rank's output to ``rank-N.log``, asks the kernel to kill the rank when its torchrun agent dies (torchrun
starts ranks in sessions of their own, so no signal to the agent's group reaches them), then runs MODULE as the main
program.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

LOG_FOLDER_VARIABLE = "J2V_LOG_FOLDER"
SUPERVISOR_VARIABLE = "J2V_SUPERVISOR_PID"
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Run the module named first with the arguments that follow."""
    die_with_parent()
    # The agent may have died before the line above; an orphan's parent is the supervisor (a subreaper) or init.
    if str(os.getppid()) in ("1", os.environ.get(SUPERVISOR_VARIABLE)):
        sys.exit("the torchrun agent of this rank has died")
    module, *arguments = sys.argv[1:]
    folder = os.environ.get(LOG_FOLDER_VARIABLE)
    if folder:
        path = os.path.join(folder, f"rank-{os.environ.get('RANK', '0')}.log")
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
