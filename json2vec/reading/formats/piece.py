"""What the formats hand to the readers, and the rows that the readers set aside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

MAX_PIECE_ROWS = 65536


def no_columns(rows: int) -> pa.RecordBatch:
    """``rows`` rows without a column, as an NDJSON file of ``{}`` holds them."""
    return pa.RecordBatch.from_struct_array(pa.Array.from_buffers(pa.struct([]), rows, [None]))


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


