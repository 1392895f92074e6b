"""The contract of a launcher passes for that of docs/launchers.md, a kind of another package, and fails for others.

The others break a promise each. They run in a project of their own, which has nothing of ours but the packages.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import documented  # type: ignore[import-not-found]
import psutil
import pytest

from j2v_dagster.launchers.contract import MODULE

pytest_plugins = "pytester"
pytestmark = pytest.mark.slow

CLASS, TESTS = documented.blocks("launchers.md")
TestProcessLauncher = documented.module("launchers.md", 1, "test_my_launcher").TestProcessLauncher
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
def _installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """``my_launcher.py``, as the page has it, where imports find it."""
    folder: Path = tmp_path_factory.mktemp("packages")
    (folder / "my_launcher.py").write_text(CLASS)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("my_launcher", None)  # another test's


@pytest.fixture
def project(pytester: pytest.Pytester) -> Iterator[pytest.Pytester]:
    """A project of its own. What a broken launcher leaves running is ended: ranks say their ids and their children."""
    yield pytester
    for log in pytester.path.rglob("*.log"):
        for pid in re.findall(r'^(?:ready |environment \{"pid": )(\d+)', log.read_text(errors="replace"), re.MULTILINE):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(pid))
                if any(word in " ".join(process.cmdline()) for word in (MODULE, "time.sleep(300)")):
                    process.kill()


@pytest.mark.parametrize(("old", "new", "test"), [one[:3] for one in BROKEN], ids=[one[3] for one in BROKEN])
def test_a_launcher_that_breaks_a_promise_fails_its_test(
    project: pytest.Pytester, old: str, new: str, test: str
) -> None:
    assert old in CLASS
    tests = TESTS.replace("(LauncherContract):", "(LauncherContract):\n    patience_s = 10.0\n")
    project.makepyfile(my_launcher=CLASS.replace(old, new), test_my_launcher=tests)
    project.syspathinsert()
    basetemp = f"--basetemp={project.path / 'folders'}"
    outcomes = project.runpytest_inprocess("-k", test, "--strict-markers", basetemp).parseoutcomes()
    assert outcomes.get("failed", 0) >= 1, outcomes
