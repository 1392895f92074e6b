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
    """Starts and ends the ranks of a job.

    Every rank runs ``python -m json2vec.predict JOB.json`` with its number in ``RANK`` and the number of ranks in
    ``WORLD_SIZE``. `j2v_dagster.launchers.contract.LauncherContract` has each promise as a test.
    """

    def submit(self, job_path: str, *, ranks: int, log_folder: str) -> str:
        """Start the ranks; returns at once.

        Args:
            job_path: local path of the job.
            ranks: number of processes.
            log_folder: local folder, made if absent, where each rank's output ends up as ``rank-N.log``: messages name
                these files, and they are kept with the attempt.

        Returns:
            A handle: text that another process may use as well.

        Raises:
            ValueError: fewer than one rank.
        """
        ...

    def status(self, handle: str) -> Status:
        """How the job fares. As soon as one rank has failed the others are ended, and then the job has failed."""
        ...

    def logs(self, handle: str, *, since: dict[int, int]) -> Iterator[LogLine]:
        """The complete lines that were printed, each rank's in order; also once the job has ended.

        Args:
            handle: of the job.
            since: bytes to skip, by rank: the offset of the last line that was read.
        """
        ...

    def cancel(self, handle: str) -> None:
        """End every process of the job; none is left when this returns. A job that has ended is no error, and stays as
        it ended."""
        ...
