"""Lines of a log file that is still written to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from j2v_dagster.launchers.base import LogLine


def log_lines(path: Path, rank: int, since: int = 0) -> Iterator[LogLine]:
    """The complete lines of a file, in order; none if it is not there yet.

    Args:
        path: a log file on this machine.
        rank: whose it is.
        since: bytes to skip; the `LogLine.offset` of the last line read.
    """
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(since)
        for line in file:
            if not line.endswith(b"\n"):
                return
            since += len(line)
            yield LogLine(rank, since, line.decode(errors="replace").rstrip("\r\n"))
