"""What a pipeline asks of a launcher: start a job's ranks, tell how they fare, end them.

A job is an immutable JSON file (`json2vec.predict.job.PredictJob`) that every rank runs with
``python -m json2vec.predict JOB.json``. A launcher need not run on this machine: whatever it returns is plain data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

LAUNCHER_RANK = -1
"""The rank of log lines that are the launcher's own."""


@dataclass(frozen=True)
class Status:
    """How a job fares.

    Attributes:
        state: ``failed`` as soon as any rank did and all of them have ended.
        exit_codes: of the ranks that are known to have ended; a negative code is the signal that killed the rank.
        message: what went wrong in the launcher's words; empty otherwise.
    """

    state: Literal["running", "succeeded", "failed", "cancelled"]
    exit_codes: dict[int, int] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class LogLine:
    """One line that a rank printed.

    Attributes:
        rank: the global rank, or `LAUNCHER_RANK`.
        offset: bytes of the rank's log up to and including this line: give it back as ``since``.
        text: without the line's end.
    """

    rank: int
    offset: int
    text: str


class Launcher(Protocol):
    """Starts and ends the ranks of a job."""

    def submit(self, job_path: str, *, ranks: int, log_folder: str) -> str:
        """Start the ranks; returns at once with a handle, text that another process may use as well."""
        ...

    def status(self, handle: str) -> Status: ...

    def logs(self, handle: str, *, since: dict[int, int]) -> Iterator[LogLine]:
        """The complete lines printed after ``since`` (bytes by rank), each rank's in order."""
        ...

    def cancel(self, handle: str) -> None:
        """End every process of the job; none is left when this returns. A job that has ended is no error."""
        ...
