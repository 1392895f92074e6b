"""What every launcher has to hold, as tests that a class of any package can run.

    class TestClusterLauncher(LauncherContract):
        def config(self, module):
            return {"kind": "company.cluster:ClusterLauncher", "queue": "tests", "module": module}

pytest collects the inherited tests with such a class. This module needs pytest and psutil, and nothing but tests
imports it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from j2v_dagster.launchers.base import Launcher, LogLine, Status
from j2v_dagster.launchers.build import build_launcher
from j2v_dagster.launchers.contract_rank import ODD_LINES

MODULE = "j2v_dagster.launchers.contract_rank"


@dataclass(frozen=True)
class Started:
    """A job that was submitted.

    Attributes:
        launcher: which submitted it.
        handle: what `Launcher.submit` returned.
        folder: of the job's file.
        log_folder: where its logs are.
        patience_s: seconds that anything may take to happen.
    """

    launcher: Launcher
    handle: str
    folder: Path
    log_folder: Path
    patience_s: float

    def status(self) -> Status:
        return self.launcher.status(self.handle)

    def ended(self) -> Status:
        """The status once the job has ended."""
        return self.wait_for(lambda: None if (status := self.status()).state == "running" else status)

    def lines(self, rank: int, since: int = 0) -> list[LogLine]:
        """A rank's lines after ``since`` bytes."""
        return [line for line in self.launcher.logs(self.handle, since={rank: since}) if line.rank == rank]

    def texts(self, rank: int) -> list[str]:
        return [line.text for line in self.lines(rank)]

    def said(self, rank: int, word: str) -> str:
        """What follows ``word`` in the line of a rank that begins with it, once there is one."""
        return self.wait_for(
            lambda: next((text[len(word) + 1 :] for text in self.texts(rank) if text.startswith(f"{word} ")), None)
        )

    def environment(self, rank: int) -> dict[str, Any]:
        """What the rank says of its process: ``pid``, ``pipes``, ``path``."""
        return json.loads(self.said(rank, "environment"))

    def wait_for(self, look: Callable[[], Any]) -> Any:
        """What ``look`` returns, once that is not None."""
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            if (value := look()) is not None:
                return value
            time.sleep(0.1)
        raise AssertionError(f"nothing happened within {self.patience_s} s; the job is {self.status()}")


Submit = Callable[..., Started]


class LauncherContract:
    """The promises of `j2v_dagster.launchers.base.Launcher`, one test each. A subclass gives `config`.

    Attributes:
        patience_s: seconds that starting or ending a job may take.
    """

    patience_s: float = 120.0

    def config(self, module: str) -> dict[str, Any]:
        """The ``launcher:`` of a YAML file: ``kind`` and options, for ranks that run ``python -m MODULE JOB.json``
        instead of ``python -m json2vec.predict JOB.json``."""
        raise NotImplementedError

    def running(self, pids: Iterable[int]) -> list[int]:
        """Those of the ranks' processes that still run. Override it where ranks run on other machines."""
        alive: list[int] = []
        for pid in pids:
            try:
                if psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                    alive.append(pid)
            except psutil.NoSuchProcess:
                continue
        return alive

    @pytest.fixture
    def launcher(self) -> Any:
        """A launcher of ``config``, as a pipeline has it."""
        return build_launcher(self.config(MODULE))

    @pytest.fixture
    def submit(self, launcher: Any, tmp_path: Path) -> Any:
        """``submit("ends", "slow")`` starts two ranks, which do what `contract_rank` knows by these words.

        Whatever a test leaves running is cancelled when it ends.
        """
        jobs: list[Started] = []

        def start(*words: str) -> Started:
            folder = tmp_path / f"job {len(jobs)}"
            folder.mkdir()
            (folder / "job.json").write_text(json.dumps({"what": words}))
            handle = launcher.submit(str(folder / "job.json"), ranks=len(words), log_folder=str(folder / "logs"))
            jobs.append(Started(launcher, handle, folder, folder / "logs", self.patience_s))
            return jobs[-1]

        yield start
        for job in jobs:
            launcher.cancel(job.handle)

    # -- to the end ----------------------------------------------------------------------------------------------------

    def test_ranks_run_to_their_end(self, submit: Submit) -> None:
        job = submit("ends", "ends")
        assert job.ended() == Status("succeeded", {0: 0, 1: 0})
        for rank in (0, 1):
            assert job.said(rank, "hello") == f"from {rank} of 2"
        assert self.running(job.environment(rank)["pid"] for rank in (0, 1)) == []

    def test_a_single_rank_is_a_job_too(self, submit: Submit) -> None:
        job = submit("ends")
        assert job.ended() == Status("succeeded", {0: 0})
        assert job.said(0, "hello") == "from 0 of 1"

    def test_no_ranks_are_no_job(self, launcher: Any, tmp_path: Path) -> None:
        (tmp_path / "job.json").write_text('{"what": []}')
        with pytest.raises(ValueError, match="ranks"):
            launcher.submit(str(tmp_path / "job.json"), ranks=0, log_folder=str(tmp_path / "logs"))

    def test_ranks_import_what_we_import_and_know_nothing_of_our_own_run(
        self, submit: Submit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("DAGSTER_PIPES_CONTEXT", "secret")
        monkeypatch.setenv("RANK", "7")
        monkeypatch.setenv("WORLD_SIZE", "9")
        monkeypatch.syspath_prepend(str(tmp_path / "a package of ours"))
        job = submit("ends", "ends")
        for rank in (0, 1):
            assert job.said(rank, "hello") == f"from {rank} of 2"
            assert job.environment(rank)["pipes"] is False
            assert str(tmp_path / "a package of ours") in job.environment(rank)["path"]

    def test_the_handle_is_text_that_another_process_can_use(self, submit: Submit) -> None:
        job = submit("slow")
        job.said(0, "hello")
        request = {"config": self.config(MODULE), "handle": job.handle}
        done = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import tell; tell()"], input=json.dumps(request), text=True,
            capture_output=True, timeout=self.patience_s,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout.splitlines()[-1])
        assert (answer["before"], answer["said"], answer["after"]) == ("running", True, "cancelled")
        assert self.running([job.environment(0)["pid"]]) == []
        assert job.ended().state == "cancelled"

    def test_jobs_are_apart(self, submit: Submit) -> None:
        first, second = submit("slow"), submit("slow")
        assert first.handle != second.handle
        pids = [job.environment(0)["pid"] for job in (first, second)]
        first.launcher.cancel(first.handle)
        assert (first.status().state, second.status().state) == ("cancelled", "running")
        assert self.running(pids) == pids[1:]

    # -- not to the end ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(("word", "code"), [("fails later", 3), ("killed later", -9)])
    def test_a_rank_that_fails_is_named_with_its_code_and_ends_the_others(
        self, submit: Submit, word: str, code: int
    ) -> None:
        job = submit("slow", word)
        pids = [job.environment(rank)["pid"] for rank in (0, 1)]
        (job.folder / "go-on").touch()
        status = job.ended()
        assert (status.state, status.exit_codes[1]) == ("failed", code)
        assert status.exit_codes.get(0) != 0
        assert self.running(pids) == []

    @pytest.mark.parametrize(("word", "code"), [("fails", 3), ("killed", -9)])
    def test_a_rank_may_fail_before_the_others_have_begun(self, submit: Submit, word: str, code: int) -> None:
        status = submit(word, "slow").ended()
        assert (status.state, status.exit_codes[0]) == ("failed", code)

    def test_cancel_ends_ranks_that_are_deaf_and_their_children(self, submit: Submit) -> None:
        job = submit("stubborn", "stubborn")
        pids = [int(job.said(rank, "ready")) for rank in (0, 1)]
        pids += [job.environment(rank)["pid"] for rank in (0, 1)]
        assert self.running(pids) == pids
        assert job.status() == Status("running")
        began = time.monotonic()
        job.launcher.cancel(job.handle)
        assert self.running(pids) == []
        assert time.monotonic() - began < self.patience_s, "the ranks ended by themselves"
        assert job.status().state == "cancelled"
        job.launcher.cancel(job.handle)  # once more is no error
        assert job.status().state == "cancelled"

    def test_cancelling_a_job_that_has_ended_changes_nothing(self, submit: Submit) -> None:
        job = submit("ends")
        before = job.ended()
        job.launcher.cancel(job.handle)
        assert job.status() == before
        assert job.said(0, "hello") == "from 0 of 1"

    # -- logs ----------------------------------------------------------------------------------------------------------

    def test_logs_go_on_where_they_were_left(self, submit: Submit) -> None:
        job = submit("speaks", "ends")
        job.wait_for(lambda: True if "last" in job.texts(0) else None)
        first = job.lines(0)
        whole = ODD_LINES.decode(errors="replace").splitlines()[:-1]
        assert [line.text for line in first][-len(whole) :] == whole, "a line without its end is not read yet"
        for number, line in enumerate(first):
            assert job.lines(0, since=line.offset) == first[number + 1 :]
        (job.folder / "go-on").touch()
        assert job.ended().state == "succeeded"
        (last_line,) = job.lines(0, since=first[-1].offset)
        assert last_line.text == "half a line, and its end"
        assert job.lines(0, since=last_line.offset) == []
        since = {0: last_line.offset, 1: job.lines(1)[-1].offset}
        assert [line for line in job.launcher.logs(job.handle, since=since) if line.rank in since] == []

    def test_the_log_of_a_rank_lies_in_the_log_folder(self, submit: Submit) -> None:
        job = submit("ends", "ends")
        job.ended()
        for rank in (0, 1):
            text = (job.log_folder / f"rank-{rank}.log").read_text()
            assert text.splitlines() == job.texts(rank)


def tell() -> None:
    """What a process that did not submit the job can say of it and do to it: the test's other process."""
    request = json.load(sys.stdin)
    launcher, handle = build_launcher(request["config"]), request["handle"]
    before = launcher.status(handle).state
    has_spoken = any(line.text == "hello from 0 of 1" for line in launcher.logs(handle, since={}))
    launcher.cancel(handle)
    print(json.dumps({"before": before, "said": has_spoken, "after": launcher.status(handle).state}))
