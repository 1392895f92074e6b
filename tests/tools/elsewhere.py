"""Does the suite pass on another machine? Run the fast tests in other surroundings: `make test-elsewhere`.

    python tests/tools/elsewhere.py            all surroundings
    python tests/tools/elsewhere.py avx2 slurm those two

Each differs from this machine in one or a few things that a user's machine may differ in: the processor's instructions,
the time zone, the language, the rights of new files, the installed programs, the cores, the order of the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SURROUNDINGS: dict[str, dict[str, str]] = {
    "default": {"ATEN_CPU_CAPABILITY": "default"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "TZ": "Asia/Kolkata", "LC_ALL": "C", "PYTHONUTF8": "0"},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512", "TZ": "America/St_Johns"},
    "slurm": {"TZ": "Pacific/Auckland"},
    "private": {"TZ": "UTC"},
    "one-core": {"OMP_NUM_THREADS": "1"},
    "shuffled": {"PYTHONHASHSEED": "12345"},
}
"""Variables of the environment, by surroundings. What else is different stands in `run`."""


def run(name: str, tests: list[str]) -> int:
    """The exit status of the fast tests in one of `SURROUNDINGS`."""
    environ = os.environ | SURROUNDINGS[name]
    options = ["-n", "2", "--dist", "loadfile"]
    before: list[str] = []
    with tempfile.TemporaryDirectory() as programs:
        if name == "slurm":  # what every login node of a cluster has on its PATH
            for program in ("srun", "sbatch", "squeue"):
                Path(programs, program).write_text("#!/bin/sh\nexit 1\n")
                Path(programs, program).chmod(0o755)
            environ["PATH"] = f"{programs}{os.pathsep}{environ['PATH']}"
        if name == "private":
            before = ["sh", "-c", 'umask 077 && exec "$@"', "sh"]
        if name == "one-core":
            before, options = ["taskset", "-c", "0"], ["-n", "0"]
        if name == "shuffled":
            options += ["--random-order", "--random-order-seed", "12345"]
        command = [*before, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        return subprocess.run([*command, "-m", "not slow and not faults", *tests], cwd=ROOT, env=environ).returncode


def main() -> None:
    names = [name for name in sys.argv[1:] if name in SURROUNDINGS] or list(SURROUNDINGS)
    tests = [name for name in sys.argv[1:] if name not in SURROUNDINGS]
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        if run(name, tests):
            failed.append(name)
    sys.exit(f"failed in: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
