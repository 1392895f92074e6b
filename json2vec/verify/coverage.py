"""Are the rows of a prediction folder exactly the input's rows, each once, with all their parts?

Memory does not depend on the number of rows but on the number of *runs*: rows whose ids follow one another. Files
as the writer leaves them are one run each, interrupted by rejected rows; a run takes 48 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from json2vec.rank_files.locator import Locator
from json2vec.verify.findings import MAX_EXAMPLES, Finding

_REMEDY = "do not load this folder; predict again"


class Coverage:
    """Collects the ids of all rows, then tells which are missing and which are there twice.

    Args:
        locator: turns the ids into plan row numbers, and those into names for messages.
    """

    def __init__(self, locator: Locator) -> None:
        self._locator = locator
        # int64 (R, 6): row, part and parts where the run begins; row and part after it, parts of its last row
        self._runs: list[np.ndarray] = []
        self._tail: np.ndarray | None = None
        self.rows = self.rejected = self.unknown = self.malformed = 0
        self._examples: list[str] = []

    def add(self, source: pa.StructArray, plan_rows: np.ndarray, where: str) -> None:
        """Add output rows.

        Args:
            source: the ``source`` column of N output rows.
            plan_rows: int64 (N,), from `Locator.plan_rows`.
            where: the file that the rows are in, for messages.
        """
        part, parts = (source.field(name).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
                       for name in ("part", "parts"))  # fmt: skip
        self.rows += len(source)
        bad = (part < 0) | (part >= parts)
        self._refuse(bad, plan_rows, source, where)
        good = (plan_rows >= 0) & ~bad
        if not good.all():
            plan_rows, part, parts = plan_rows[good], part[good], parts[good]
        self._add(plan_rows, part, parts)

    def add_rejected(self, rejected: pa.RecordBatch, plan_rows: np.ndarray, where: str) -> None:
        """Add rows that gave no output row, in the columns of `layout.REJECTED_SCHEMA`."""
        self.rejected += rejected.num_rows
        self._refuse(np.zeros(rejected.num_rows, bool), plan_rows, rejected.to_struct_array(), where)
        plan_rows = plan_rows[plan_rows >= 0]
        self._add(plan_rows, np.zeros_like(plan_rows), np.ones_like(plan_rows))

    def _refuse(self, bad: np.ndarray, plan_rows: np.ndarray, source: pa.StructArray, where: str) -> None:
        unknown = plan_rows < 0
        self.unknown += int(unknown.sum())
        self.malformed += int((bad & ~unknown).sum())
        for index in np.flatnonzero(unknown | bad)[:MAX_EXAMPLES]:
            id_ = source[int(index)].as_py()
            why = "is no row of the input" if unknown[index] else f"is part {id_['part']} of {id_['parts']}"
            self._examples.append(f"{id_['file']} row {id_['row']} in {where} {why}")

    def _add(self, row: np.ndarray, part: np.ndarray, parts: np.ndarray) -> None:
        if not len(row):
            return
        more = part + 1 < parts
        next_row, next_part = np.where(more, row, row + 1), np.where(more, part + 1, 0)
        ends = (row[1:] != next_row[:-1]) | (part[1:] != next_part[:-1]) | ((part[1:] > 0) & (parts[1:] != parts[:-1]))
        last = np.append(np.flatnonzero(ends), len(row) - 1)
        first = np.append(0, last[:-1] + 1)
        runs = np.stack([row[first], part[first], parts[first], next_row[last], next_part[last], parts[last]], axis=1)
        tail = self._tail
        if tail is not None and (tail[3:5] == runs[0, :2]).all() and (runs[0, 1] == 0 or tail[5] == runs[0, 2]):
            tail[3:] = runs[0, 3:]  # the batch goes on where the last one stopped
            runs = runs[1:]
        if len(runs):
            self._runs.append(runs)
            self._tail = runs[-1]

    def finding(self) -> Finding:
        """The finding ``coverage`` over everything that was added."""
        total = self._locator.snapshot.rows
        runs = np.concatenate(self._runs) if self._runs else np.zeros((0, 6), np.int64)
        runs = runs[np.lexsort((runs[:, 1], runs[:, 0]))]
        step = int(runs[:, [1, 2, 4, 5]].max(initial=0)) + 1
        wide = object if total * step >= 2**62 else np.int64  # a corrupt `parts` must not overflow into a pass
        keys = runs.astype(wide)
        start, stop = keys[:, 0] * step + keys[:, 1], keys[:, 3] * step + keys[:, 4]
        reached = np.maximum.accumulate(stop) if len(stop) else stop
        before = np.concatenate([np.zeros(1, wide), reached[:-1]]) if len(stop) else stop
        gaps = list(zip(before[start > before], start[start > before], strict=True))
        end = reached[-1] if len(reached) else 0
        if end < total * step:
            gaps.append((end, total * step))
        again = start < before
        twice = list(zip(start[again], np.minimum(stop, before)[again], strict=True))
        torn = np.flatnonzero((start == before) & (runs[:, 1] > 0) & (np.roll(runs[:, 5], 1) != runs[:, 2]))
        missing, repeated = _count(gaps, step), _count(twice, step)
        examples = [
            *(f"{self._locator.names(*_rows(gap, step))} missing" for gap in gaps[:MAX_EXAMPLES]),
            *(f"{self._locator.names(*_rows(gap, step))} there twice" for gap in twice[:MAX_EXAMPLES]),
            *(f"{self._locator.name(int(runs[i, 0]))} with different numbers of parts" for i in torn[:MAX_EXAMPLES]),
            *self._examples,
        ]
        malformed = self.malformed + len(torn)
        counts = {"input_rows": total, "rows": self.rows, "rejected": self.rejected, "missing": missing,
                  "duplicated": repeated, "unknown": self.unknown, "malformed": malformed}  # fmt: skip
        passed = not (missing or repeated or self.unknown or malformed)
        return Finding(
            "coverage", passed, f"each of {total} input rows once, with all its parts",
            f"{self.rows} rows and {self.rejected} rejected; {missing} input rows missing, {repeated} twice, "
            f"{self.unknown} that are not in the input, {malformed} with impossible parts",
            "" if passed else _REMEDY, counts, tuple(examples[: 2 * MAX_EXAMPLES]),
        )  # fmt: skip


def _rows(keys: tuple[int, int], step: int) -> tuple[int, int]:
    """The input rows that a range of keys touches."""
    return int(keys[0]) // step, -(-int(keys[1]) // step)


def _count(ranges: Sequence[tuple[int, int]], step: int) -> int:
    return sum(stop - start for start, stop in (_rows(keys, step) for keys in ranges))
