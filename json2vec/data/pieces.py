"""What the formats hand to the readers, and the rows that the readers set aside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

MAX_PIECE_ROWS = 65536


@dataclass(frozen=True)
class BadRow:
    """A row that is there but cannot be read: its number in the file, why, and its text."""

    row: int
    reason: str
    raw: str


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a file: n of them in Arrow, and the bad ones in between.

    Attributes:
        batch: n rows.
        rows: int64 (n,), their numbers in the file, ascending.
        bad: rows that could not be read.
    """

    batch: pa.RecordBatch
    rows: np.ndarray
    bad: tuple[BadRow, ...] = ()

    @staticmethod
    def of(batch: pa.RecordBatch, first: int) -> Piece:
        """The piece of ``batch`` whose first row has number ``first``, without bad rows."""
        return Piece(batch, np.arange(first, first + batch.num_rows, dtype=np.int64))


@dataclass(frozen=True)
class RejectedRows:
    """Input rows that gave no output row: four columns of equal length.

    Attributes:
        file: string, relative to the snapshot's root.
        row: int64, the row in the file.
        reason: string: ``dropped`` (by the preprocessor), or why the row could not be read.
        raw: string: the text of an unreadable row (its first 100,000 characters); null where the row can be read.
    """

    file: pa.Array
    row: pa.Array
    reason: pa.Array
    raw: pa.Array

    def __len__(self) -> int:
        return len(self.row)

    def to_table(self) -> pa.Table:
        """Columns file, row, reason, raw."""
        return pa.table({"file": self.file, "row": self.row, "reason": self.reason, "raw": self.raw})

    @staticmethod
    def of(path: str, rows: np.ndarray, reasons: list[str], raw: list[str | None]) -> RejectedRows:
        """Rejected rows of one file."""
        files, texts = pa.array([path] * len(rows), pa.string()), pa.array(raw, pa.string())
        return RejectedRows(files, pa.array(rows, pa.int64()), pa.array(reasons, pa.string()), texts)

    @staticmethod
    def concat(parts: Iterable[RejectedRows | None]) -> RejectedRows | None:
        """All of ``parts`` in order; None where there is no row."""
        some = [part for part in parts if part is not None and len(part)]
        if len(some) <= 1:
            return some[0] if some else None
        columns = ("file", "row", "reason", "raw")
        return RejectedRows(*(pa.concat_arrays([getattr(part, name) for part in some]) for name in columns))

    def slice(self, start: int, stop: int) -> RejectedRows:
        return RejectedRows(*(c.slice(start, stop - start) for c in (self.file, self.row, self.reason, self.raw)))
