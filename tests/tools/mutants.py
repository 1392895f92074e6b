"""Is each test able to fail? Change one thing in the code at a time and see whether a test notices: `make mutants`.

Run it with an environment that has cosmic-ray, which makes the changes; the tests run with the project's own:

    python tests/tools/mutants.py --python .venv/bin/python --count 100 --seed 1

A copy of the tracked files is changed, never the checkout. A change is first shown to the tests of its own module, then
to the fast tests of its room, then to those of the interface. What no test notices is printed as a diff: it is a test
that is missing, or a change without an effect.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[2]
MUTATED = (
    "json2vec/rank_files", "json2vec/verify", "json2vec/reading", "json2vec/fields", "j2v_dagster/attempts",
    "j2v_dagster/warehouse",
)  # fmt: skip
WITHOUT = ("NoOp", "RemoveDecorator", "VariableReplacer", "VariableInserter", "ExceptionReplacer", "Operator_BitOr_")
"""Operators whose changes are none, do not import, or change a type hint only."""
TIMEOUT_S = 600


@dataclass(frozen=True)
class Mutant:
    """One change: the file, relative to the root; the name of the operator; its occurrence in the file."""

    path: str
    operator: str
    occurrence: int


def mutants(count: int, seed: int) -> list[Mutant]:
    """A sample of all changes, alike for a seed and a state of the code; files count by their length."""
    drawn = random.Random(seed)
    families: dict[str, list[str]] = {}  # else nine of ten changes would be of arithmetic, which has most operators
    for name in operator_names():
        if not any(part in name for part in WITHOUT):
            families.setdefault(name.split("_")[0], []).append(name)
    files = sorted(path for folder in MUTATED for path in (ROOT / folder).rglob("*.py") if path.name != "contract.py")
    sizes = [path.stat().st_size for path in files]
    found: list[Mutant] = []
    while len(found) < count:
        [path] = drawn.choices(files, sizes)
        mutant = Mutant(str(path.relative_to(ROOT)), drawn.choice(drawn.choice(list(families.values()))),
                        drawn.randrange(30))  # fmt: skip
        if mutant not in found and changed(mutant) is not None:
            found.append(mutant)
    return found


def changed(mutant: Mutant) -> str | None:
    """The code of the file with the change; None where the operator has no such occurrence, or it is none."""
    code = (ROOT / mutant.path).read_text()
    new = mutate_code(code, get_operator(mutant.operator)(), mutant.occurrence)
    return None if new == code else new


def suites(path: str) -> list[list[str]]:
    """The tests to show a change of ``path``, the nearest first."""
    module = Path(path)
    folder = Path("tests") / module.parent
    own = sorted(str(test.relative_to(ROOT)) for test in (ROOT / folder).glob(f"test_{module.stem}*.py"))
    return [tests for tests in (own, [str(folder)], ["tests/interface"]) if tests]


def outcome(mutant: Mutant, copy: Path, python: str) -> str:
    """``killed``, ``timeout`` or ``survived``."""
    target, code = copy / mutant.path, (ROOT / mutant.path).read_text()
    new = changed(mutant)
    assert new is not None
    target.write_text(new)
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        for tests in suites(mutant.path):
            command = [python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow and not faults"]
            try:
                done = subprocess.run([*command, *tests], cwd=copy, env=environ, capture_output=True, timeout=TIMEOUT_S,
                                      check=False)  # fmt: skip
            except subprocess.TimeoutExpired:
                return "timeout"
            if done.returncode not in (0, 5):  # 5: there was no test
                return "killed"
        return "survived"
    finally:
        target.write_text(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the project's environment")
    parser.add_argument("--count", type=int, default=100, help="changes to try")
    parser.add_argument("--seed", type=int, default=1, help="which of all changes are tried")
    parser.add_argument("--jobs", type=int, default=2, help="changes to try at a time")
    parser.add_argument("--only", default="", help="only files whose path holds this text")
    args = parser.parse_args()
    python = os.path.abspath(args.python)
    sample = [one for one in mutants(args.count, args.seed) if args.only in one.path]
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="j2v-mutants-") as folder:
        copies = [Path(folder, str(job)) for job in range(args.jobs)]
        for copy in copies:
            for name in filter(None, tracked.split("\0")):
                if (ROOT / name).is_file():
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, copy / name)

        def work(job: int) -> None:
            for mutant in sample[job :: args.jobs]:
                started = time.monotonic()
                result = outcome(mutant, copies[job], python)
                counts[result] += 1
                print(f"{result:<9}{time.monotonic() - started:5.0f} s  {mutant.path}  {mutant.operator}", flush=True)
                if result == "survived":
                    before, after = (ROOT / mutant.path).read_text(), changed(mutant) or ""
                    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), mutant.path, lineterm="", n=1)
                    print("\n".join(f"    {line}" for line in lines), flush=True)

        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(work, range(args.jobs)))
    total = sum(counts.values())
    print(f"{total} changes (seed {args.seed}): " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))


if __name__ == "__main__":
    main()
