"""One start of the ranks, watched to its end: their lines, their progress, and why they failed. Imports no Dagster."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from j2v_dagster.attempts.folder import JOB, Attempt, copy_logs
from j2v_dagster.launchers.base import LAUNCHER_RANK, Launcher, Status
from json2vec.errors import Json2VecError
from json2vec.predict.progress import parse_progress
from json2vec.storage.store import Store

_POLL_S = 0.2
_LINES_PER_MESSAGE = 50


class RanksFailed(Json2VecError):
    """Ranks that did not end well; the message names them, their errors and their logs.

    Attributes:
        ranks: the ranks at fault.
        errors: the names of the exceptions that they left, and of their causes; empty where ranks were killed.
    """

    def __init__(self, message: str, *, ranks: tuple[int, ...] = (), errors: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.ranks = ranks
        self.errors = errors


@dataclass(frozen=True)
class Launch:
    """One start of the ranks: the attempts they work on, one after the other, and where the job and the logs lie.

    Attributes:
        folder: the folder on this machine that holds the job and the logs.
        attempts: the attempts in the order of the work, one a partition.
        store: the folder in which the logs of several partitions are kept; None where the logs of a single partition
            go to its attempt.
    """

    folder: Path
    attempts: tuple[Attempt, ...]
    store: Store | None = None

    @classmethod
    def of(cls, attempt: Attempt) -> Launch:
        """A start for one attempt, whose own folder serves."""
        return cls(attempt.path, (attempt,))

    @property
    def job_path(self) -> Path:
        return self.folder / JOB

    @property
    def log_folder(self) -> Path:
        return self.folder / "logs"

    def done(self, rank: int) -> bool:
        """Whether the rank has left its marker in the last attempt, so that it has nothing more to do."""
        return self.attempts[-1].has(f"rank-{rank}.json")

    def tidy(self) -> None:
        """Copy the logs and clear the scratch folders, once the ranks have ended; see `Attempt.tidy`."""
        for attempt in self.attempts:
            attempt.tidy()
        if self.store is not None:
            copy_logs(self.log_folder, self.store)


@dataclass
class _RankState:
    """What is known of one rank while it runs.

    Attributes:
        rows: rows that it has predicted.
        of: rows that it has to predict; None before its first line of progress.
        done: attempts that it has finished.
        rows_per_s: rows a second, by its own count.
        moved: when it last made progress, in seconds of the monotonic clock.
    """

    rows: int = 0
    of: int | None = None
    done: int = 0
    rows_per_s: float = 0.0
    moved: float = field(default_factory=time.monotonic)


def run_ranks(
    launcher: Launcher,
    launch: Launch,
    *,
    ranks: int,
    rank_timeout_s: float,
    log: logging.Logger,
    report_every_s: float = 5.0,
    on_done: Callable[[Attempt], None] | None = None,
) -> None:
    """Start the ranks of a job and wait until all have ended well. Whatever else happens, an interrupt as well, none of
    them is left running.

    Args:
        launcher: what starts and ends the ranks.
        launch: the job, the attempts that the ranks work on, and the folder of the logs.
        ranks: number of processes.
        rank_timeout_s: seconds without progress (rows, or any other line) after which a rank counts as hung.
        log: gets the ranks' lines and their progress.
        report_every_s: seconds between two lines of progress.
        on_done: called with each attempt, in order, that no rank works on any more, well or not, while they work on the
            next. The ranks' last lines may come too late for it: the caller looks after attempts that were not named.

    Raises:
        RanksFailed: a rank failed, was killed or hung; names it, its exit code or signal, its error and its log.
    """
    handle = launcher.submit(str(launch.job_path), ranks=ranks, log_folder=str(launch.log_folder))
    try:
        watched = {rank: _RankState() for rank in range(ranks)}
        since: dict[int, int] = {}
        reported, handed_on = time.monotonic(), 0
        while True:
            status = launcher.status(handle)  # before the logs, so that the last lines are read as well
            _drain(launcher, handle, since, watched, log)
            done = min(rank_state.done for rank_state in watched.values())
            if on_done is not None:
                began = time.monotonic()
                for attempt in launch.attempts[handed_on:done]:
                    on_done(attempt)
                for rank_state in watched.values():  # whose lines nobody read meanwhile
                    rank_state.moved += time.monotonic() - began
            handed_on = done
            if status.state != "running":
                break
            now = time.monotonic()
            if now - reported >= report_every_s:
                reported = now
                log.info(_progress(watched))
            for rank, rank_state in watched.items():
                if now - rank_state.moved > rank_timeout_s and not launch.done(rank):
                    launcher.cancel(handle)
                    _drain(launcher, handle, since, watched, log)
                    raise RanksFailed(
                        f"rank {rank} made no progress for {rank_timeout_s:g} s (rows {rank_state.rows} of "
                        f"{'unknown' if rank_state.of is None else rank_state.of}); every rank was ended. Log: "
                        f"{launch.log_folder / f'rank-{rank}.log'}. Remedy: see where it hangs, or raise "
                        "rank_timeout_s",
                        ranks=(rank,),
                    )
            time.sleep(_POLL_S)
        log.info(_progress(watched))
        if status.state != "succeeded":
            raise failure(launch, status, ranks)
    finally:
        launcher.cancel(handle)
        launch.tidy()


def failure(launch: Launch, status: Status, ranks: int) -> RanksFailed:
    """The error of a job that did not succeed, from its exit codes, error files and logs.

    Args:
        launch: the start of the ranks.
        status: the launcher's last word on the job.
        ranks: number of processes.
    """
    errors = {rank: error for rank in range(ranks) for attempt in launch.attempts if (error := error_of(attempt, rank))}
    # torchrun ends the others with SIGTERM once one rank failed: they are not to blame.
    victims = {rank for rank, error in errors.items() if error.get("error") in ("SystemExit", "KeyboardInterrupt")}
    victims |= {rank for rank, code in status.exit_codes.items() if code in (0, -15, 128 + 15)}
    guilty = [rank for rank in dict.fromkeys([*status.exit_codes, *errors]) if rank not in victims]
    guilty = guilty or [rank for rank in status.exit_codes if status.exit_codes[rank]]
    parts = []
    for rank in guilty:
        ended = _ended(status.exit_codes.get(rank))
        log = launch.log_folder / f"rank-{rank}.log"
        cause = f": {error_words(errors[rank])}" if rank in errors else _last_error_words(log) or " and left no message"
        parts.append(f"rank {rank} {ended}{cause} (log: {log})")
    text = "; ".join(parts) or f"{status.message}{_tail(launch.log_folder / 'launcher.log')}"
    alone = len(launch.attempts) == 1
    outcome = f"attempt {launch.attempts[0].name}" if alone else f"{len(launch.attempts)} partitions"
    return RanksFailed(
        f"{outcome}: {text}. {'Nothing was committed; the table keeps its rows. ' if alone else ''}"
        f"Remedy: mend the cause and run again. All logs: {launch.log_folder}",
        ranks=tuple(guilty),
        errors=tuple(name for rank in guilty if rank in errors for name in error_names(errors[rank])),
    )


def error_names(error: Mapping[str, object]) -> list[str]:
    """The names of an error that a rank left and of the exceptions in its traceback.

    Args:
        error: the content of the rank's error file; see `error_of`.
    """
    lines = re.findall(r"^([A-Za-z_][\w.]*)(?::|$)", str(error.get("traceback", "")), re.MULTILINE)
    return [str(error.get("error")), *(line.rpartition(".")[2] for line in lines if line != "Traceback")]


def _drain(
    launcher: Launcher, handle: str, since: dict[int, int], watched: dict[int, _RankState], log: logging.Logger
) -> None:
    """Take in the lines printed since the last call; one message a rank, not a line (an event costs 20 ms)."""
    lines: dict[int, list[str]] = {}
    for line in launcher.logs(handle, since=dict(since)):
        since[line.rank] = line.offset
        rank_state = watched.get(line.rank)
        progress = parse_progress(line.text)
        if rank_state is None or progress is None:
            lines.setdefault(line.rank, []).append(line.text)
            if rank_state is not None:
                rank_state.moved = time.monotonic()
            continue
        # A hung rank may go on printing the same number from another thread.
        if (progress.rows, progress.done) != (rank_state.rows, rank_state.done) or rank_state.of is None:
            rank_state.moved = time.monotonic()
        rank_state.rows, rank_state.of, rank_state.done = progress.rows, progress.of, progress.done
        rank_state.rows_per_s = progress.rows_per_s
    for rank, texts in lines.items():
        name = "launcher" if rank == LAUNCHER_RANK else f"rank {rank}"
        more = len(texts) - _LINES_PER_MESSAGE
        shown = "\n".join(texts[-_LINES_PER_MESSAGE:])
        log.info(f"{name}: {f'({more} earlier lines are in its log only) ' if more > 0 else ''}{shown}")


def _progress(watched: Mapping[int, _RankState]) -> str:
    states = watched.values()
    rows, of = sum(state.rows for state in states), sum(state.of or 0 for state in states)
    speed = sum(state.rows_per_s for state in states)
    ranks = ", ".join(f"rank {rank}: {state.rows:,}/{state.of or 0:,}" for rank, state in watched.items())
    if any(state.of is None for state in states):
        return f"ranks are starting ({ranks})"
    eta = f", {max(of - rows, 0) / speed:.0f} s to go" if speed > 0 and rows < of else ""
    return f"{rows:,} of {of:,} rows, {speed:,.0f} rows/s{eta} ({ranks})"


def error_of(attempt: Attempt, rank: int) -> dict[str, Any] | None:
    """The content of the file in which a rank says why it failed; None where it left none."""
    from json2vec.predict.job import error_name

    try:
        value = json.loads(attempt.store.read(error_name(rank)))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def error_words(error: Mapping[str, object]) -> str:
    """The error's name and message, as messages quote them."""
    return f"{error.get('error')}: {error.get('message')}"


def _last_error_words(log: Path) -> str:
    """The last line in which a rank said why it failed: one that cannot reach its store can still do that."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    last_words = [line for line in lines if line.startswith("rank ") and " failed: " in line]
    return f": {last_words[-1].partition(' failed: ')[2]}" if last_words else ""


def _ended(code: int | None) -> str:
    import signal

    if code is None:
        return "failed"
    if code < 0:
        try:
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code}"


def _tail(path: Path, size: int = 2000) -> str:
    try:
        return ":\n" + path.read_bytes()[-size:].decode(errors="replace")
    except OSError:
        return ""
