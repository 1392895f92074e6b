"""Ranks are watched: their lines reach the log, and the one that failed or hung is named."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from real_ranks import attempt_in, launcher

from j2v_dagster.attempts.folder import Attempt
from j2v_dagster.launchers.base import LogLine, Status
from j2v_dagster.launchers.contract import MODULE
from j2v_dagster.steps.watch import Launch, RanksFailed, run_ranks

pytestmark = pytest.mark.slow


def run(attempt: Attempt, *, timeout: float = 60.0) -> list[str]:
    """Run two ranks through the watching loop; the messages logged."""
    messages: list[str] = []
    log = logging.Logger("test")
    log.addHandler(handler := logging.Handler())
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    run_ranks(launcher(), Launch.of(attempt), ranks=2, rank_timeout_s=timeout, log=log)
    return messages


def test_an_attempt_that_is_over_is_named_while_the_ranks_go_on(job: Callable[..., Attempt]) -> None:
    """The ranks end only once the caller has heard of the first attempt."""
    first = job("two jobs", "two jobs")
    launch = Launch(first.path, (first, attempt_in("a2", first.path.parent / "second")))
    heard: list[str] = []

    def on_done(attempt: Attempt) -> None:
        heard.append(attempt.name)
        (first.path / "first-is-over").touch()

    run_ranks(launcher(), launch, ranks=2, rank_timeout_s=60, log=logging.Logger("test"), on_done=on_done)
    assert heard in (["a1"], ["a1", "a2"])


def test_the_ranks_lines_reach_the_log(job: Callable[..., Attempt]) -> None:
    messages = run(job("ends", "ends"))
    assert any(message.startswith("rank 1: hello from 1 of 2") for message in messages)
    assert any("0 of 20 rows" in message for message in messages)


def test_a_killed_rank_is_named_with_its_signal(job: Callable[..., Attempt]) -> None:
    with pytest.raises(RanksFailed, match=r"rank 1 was killed by signal 9 \(SIGKILL\).*rank-1\.log") as caught:
        run(job("slow", "killed"))
    assert caught.value.ranks == (1,)
    assert "rank 0" not in str(caught.value)


def test_a_rank_that_raises_is_named_with_its_error(job: Callable[..., Attempt]) -> None:
    with pytest.raises(RanksFailed, match=r"rank 0 ended with exit code 3: ValueError: bad shard x\.parquet"):
        run(job("raises", "slow"))


@pytest.mark.faults
def test_a_hung_rank_is_ended_and_named(job: Callable[..., Attempt]) -> None:
    attempt = job("ends", "hangs")
    (attempt.path / "rank-0.json").write_text("{}")  # rank 0 is done
    before = set(psutil.pids())
    with pytest.raises(RanksFailed, match=r"rank 1 made no progress for 15 s \(rows 4 of 10\)"):
        run(attempt, timeout=15.0)
    left = [p for pid in set(psutil.pids()) - before if (p := _contract_rank(pid))]
    assert left == []


def _contract_rank(pid: int) -> int | None:
    try:
        return pid if MODULE in psutil.Process(pid).cmdline() else None
    except psutil.Error:
        return None


def test_time_that_a_commit_takes_is_not_a_rank_that_hangs(tmp_path: Path) -> None:
    """The watcher reads no lines while it commits; the rank speaks all the time."""
    attempts = tuple(attempt_in(f"a{number}", tmp_path / f"a{number}") for number in range(2))
    for one in attempts:
        one.path.mkdir()

    class Talkative:
        """One rank that says something every 0.1 s for 5 s; its first job is over at once."""

        def submit(self, job_path: str, *, ranks: int, log_folder: str) -> str:
            self.began = time.monotonic()
            return "handle"

        def status(self, handle: str) -> Status:
            return Status("running") if time.monotonic() - self.began < 5 else Status("succeeded", {0: 0})

        def logs(self, handle: str, *, since: Any) -> Iterator[LogLine]:
            for number in range(since.get(0, 0), int((time.monotonic() - self.began) / 0.1)):
                line = {"j2v": "progress", "rank": 0, "rows": number, "of": 50, "done": 1}
                yield LogLine(0, number + 1, json.dumps(line))

        def cancel(self, handle: str) -> None:
            pass

    named: list[str] = []

    def on_done(attempt: Attempt) -> None:
        named.append(attempt.name)
        time.sleep(2.5)

    log = logging.Logger("test")
    run_ranks(Talkative(), Launch(tmp_path, attempts), ranks=1, rank_timeout_s=2, log=log, on_done=on_done)
    assert named == ["a0"]
