"""The contract of a launcher finds what is wrong with one, in a project that has nothing of ours but the packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import documented  # type: ignore[import-not-found]
import psutil
import pytest

pytest_plugins = "pytester"
pytestmark = pytest.mark.slow

CLASS, TESTS = documented.blocks("launchers.md")
BROKEN = [
    ("128 - int(text)", "int(text)", "fail_before", "signals are told as the shell does"),
    ("            self.end(job, alive)\n\n", "            return\n\n", "deaf", "cancel only says so"),
    ("recursive=True", "recursive=False", "deaf", "children of ranks survive"),
    ("since.get(rank, 0)", "0", "where_they_were_left", "lines are read twice"),
    ("any(codes.values()) and alive", "False", "fails_is_named", "the others go on"),
    ("**rank_environment()", "**os.environ", "know_nothing", "ranks get what is not theirs"),
    ("if ranks < 1:", "if ranks < 0:", "no_ranks", "a job without ranks"),
    ('"RANK": str(rank)', '"RANK": "0"', "run_to_their_end", "every rank is the first"),
    ('return json.dumps({"folder": str(folder), "pids": pids})',
     'return json.dumps({"folder": str(folder), "pids": pids[:1]})', "fails_is_named", "only one rank is watched"),
    ('"cancelled").touch()', '"cancelled").exists()', "apart", "cancelled jobs have failed"),
    ('f"rank-{rank}.log", "ab"', 'f"{rank}.log", "ab"', "lies_in_the_log_folder", "logs lie elsewhere"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_survives(pytester: pytest.Pytester) -> Iterator[None]:
    """End what a broken launcher has left: ranks say their process ids, and those of their children."""
    yield
    for log in Path(pytester.path).parent.rglob("*.log"):
        for pid in re.findall(r'^(?:ready |environment \{"pid": )(\d+)', log.read_text(errors="replace"), re.MULTILINE):
            if psutil.pid_exists(int(pid)):
                psutil.Process(int(pid)).kill()


@pytest.mark.parametrize(("old", "new", "test"), [one[:3] for one in BROKEN], ids=[one[3] for one in BROKEN])
def test_a_launcher_that_breaks_a_promise_fails_its_test(
    pytester: pytest.Pytester, old: str, new: str, test: str
) -> None:
    assert old in CLASS
    tests = TESTS.replace("(LauncherContract):", "(LauncherContract):\n    patience_s = 10.0\n")
    pytester.makepyfile(my_launcher=CLASS.replace(old, new), test_my_launcher=tests)
    pytester.syspathinsert()
    basetemp = f"--basetemp={pytester.path / 'folders'}"
    outcomes = pytester.runpytest_inprocess("-k", test, "--strict-markers", basetemp).parseoutcomes()
    assert outcomes.get("failed", 0) >= 1, outcomes
