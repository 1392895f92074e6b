"""Who reads what. The plan numbers the snapshot's rows 0..R-1, file after file; ranks get contiguous parts of them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from json2vec.errors import Json2VecError
from json2vec.reading.snapshot import Snapshot

Ranges = tuple[tuple[int, int], ...]
_ALL: Ranges = ((-1, -1),)  # stands for all rows until the snapshot is known


class FileRange(NamedTuple):
    """The rows start..stop-1 of file number ``file``, counted within the file."""

    file: int
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """The rows to predict, and how ranks share them.

    Attributes:
        snapshot: the input files.
        world_size: the number of ranks.
        intervals: half-open ranges of row numbers still to predict, ascending and disjoint; default: all rows.

    Raises:
        Json2VecError: no rank, or intervals that overlap or leave the snapshot's rows.
    """

    snapshot: Snapshot
    world_size: int
    intervals: Ranges = _ALL

    def __post_init__(self) -> None:
        if self.world_size < 1:
            raise Json2VecError(f"a plan needs at least 1 rank; got world_size={self.world_size}")
        total = self.snapshot.rows
        given = ((0, total),) if self.intervals is _ALL else self.intervals
        kept = tuple((int(start), int(stop)) for start, stop in given if start != stop)
        object.__setattr__(self, "intervals", kept)
        bounds = [0, *(bound for interval in kept for bound in interval), total]
        if any(a > b for a, b in itertools.pairwise(bounds)):
            raise Json2VecError(f"intervals {kept} must be ascending, disjoint and within 0..{total}, the plan's rows")

    @property
    def rows(self) -> int:
        """Rows of all intervals."""
        return int(self._ends[-1])

    @cached_property
    def _ends(self) -> np.ndarray:
        """int64 (intervals + 1,): planned rows before each interval, and in all."""
        return np.cumsum([0, *(stop - start for start, stop in self.intervals)], dtype=np.int64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the snapshot's digest, world size and intervals."""
        sha = hashlib.sha256(f"{self.snapshot.digest} {self.world_size}".encode())
        sha.update(np.array(self.intervals, "<i8").tobytes())
        return sha.hexdigest()

    def share(self, rank: int, worker: int = 0, workers: int = 1) -> Ranges:
        """The row-number ranges of one worker of one rank; all shares together are all rows, each once.

        A rank's rows do not depend on its number of workers, and ranks differ by at most one row, as do its workers.

        Raises:
            Json2VecError: rank or worker out of range.
        """
        if not (0 <= rank < self.world_size and 0 <= worker < workers):
            raise Json2VecError(
                f"no share for rank {rank} of {self.world_size}, worker {worker} of {workers}. Remedy: make the plan "
                "for the number of ranks that run"
            )
        begin, end = part(0, self.rows, rank, self.world_size)
        return self._slice(*part(begin, end, worker, workers))

    def _slice(self, begin: int, end: int) -> Ranges:
        """The row numbers of the planned rows begin..end-1."""
        ranges = []
        first = max(0, int(np.searchsorted(self._ends, begin, side="right")) - 1)
        for i in range(first, len(self.intervals)):
            before = int(self._ends[i])
            if before >= end:
                break
            start, stop = self.intervals[i]
            a, b = start + max(0, begin - before), min(stop, start + end - before)
            if a < b:
                ranges.append((a, b))
        return tuple(ranges)

    def locate(self, start: int, stop: int) -> Iterator[FileRange]:
        """The parts of files that the row numbers start..stop-1 stand for, in order."""
        return locate(self.snapshot, start, stop)


def part(begin: int, end: int, index: int, count: int) -> tuple[int, int]:
    """Part ``index`` of begin..end cut into ``count``; the first parts are one longer where it does not divide."""
    each, more = divmod(end - begin, count)
    start = begin + index * each + min(index, more)
    return start, start + each + (index < more)


def locate(snapshot: Snapshot, start: int, stop: int) -> Iterator[FileRange]:
    """See `Plan.locate`."""
    if start >= stop:
        return
    file, _ = snapshot.locate(start)
    starts = snapshot.starts
    while start < stop:
        begin, end = int(starts[file]), int(starts[file + 1])
        if start < end:
            yield FileRange(file, start - begin, min(stop, end) - begin)
            start = min(stop, end)
        file += 1
