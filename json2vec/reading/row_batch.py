"""What the readers hand on: `RowBatch`, Arrow rows and where they came from, and the rows that they set aside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from json2vec.reading.records import records

SOURCE_TYPE = pa.struct(
    [
        pa.field("file", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("part", pa.int32(), nullable=False),
        pa.field("parts", pa.int32(), nullable=False),
        pa.field("hash", pa.uint64(), nullable=False),
    ]
)
"""The identity of an output row: the file it was read from (relative to the snapshot's root), its row there counted
from 0, which of how many rows a preprocessor made of it, and the hash of the row as read (see
`json2vec.reading.row_hash`)."""


@dataclass(frozen=True)
class Stored:
    """Rows that need no prediction, put together with those of a `RowBatch` that do; N output rows in all.

    Attributes:
        inputs: the rows as read; N rows.
        source: N values of `SOURCE_TYPE`.
        predictions: M stored predictions, more than are wanted where that saves a copy.
        order: int64 (N,): where each row's prediction is, in the fresh ones of the batch followed by ``predictions``.
        reused: how many of the N rows take a stored prediction.
        attempt, manifest_sha256: whose predictions these are.
    """

    inputs: pa.RecordBatch
    source: pa.StructArray
    predictions: pa.StructArray
    order: np.ndarray
    reused: int
    attempt: str
    manifest_sha256: str


@dataclass(frozen=True)
class RowBatch:
    """Rows on their way from a file to the encoder, all in Arrow.

    Attributes:
        inputs: the rows as read, one for each output row; N rows.
        observations: what the encoder reads: ``inputs``, or what the preprocessor made of them; N rows.
        source: N values of `SOURCE_TYPE`.
        span: the half-open range of the plan's row numbers that this batch accounts for; it holds the rows that a
            preprocessor dropped too, so that ``span[1] - span[0]`` need not be N.
        rejected: rows of ``span`` that gave no output row, or None.
        stored: rows of ``span`` whose predictions are known already, put together with the N others, or None.
    """

    inputs: pa.RecordBatch
    observations: pa.RecordBatch
    source: pa.StructArray
    span: tuple[int, int]
    rejected: RejectedRows | None = None
    stored: Stored | None = None

    def __len__(self) -> int:
        return self.observations.num_rows

    def filter(self, kept: np.ndarray) -> RowBatch:
        """The output rows where ``kept``, bool (N,), says so; ``span`` and ``rejected`` stay."""
        mask = pa.array(kept)
        inputs = self.inputs.filter(mask)
        observations = inputs if self.observations is self.inputs else self.observations.filter(mask)
        return replace(self, inputs=inputs, observations=observations, source=self.source.filter(mask))


class Rows:
    """Dict-like rows over an Arrow batch, converted to Python only when somebody looks."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return records(self._batch)

    def __len__(self) -> int:
        return self._batch.num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)


def source_array(
    files: list[str], file_index: np.ndarray, row: np.ndarray, part: np.ndarray, parts: np.ndarray, hashes: np.ndarray
) -> pa.StructArray:
    """Assemble N values of `SOURCE_TYPE`; ``file_index`` points into ``files``."""
    names = pa.DictionaryArray.from_arrays(pa.array(file_index, pa.int32()), pa.array(files, pa.string()))
    return pa.StructArray.from_arrays(
        [names, pa.array(row, pa.int64()), pa.array(part, pa.int32()), pa.array(parts, pa.int32()),
         pa.array(hashes, pa.uint64())],
        fields=list(SOURCE_TYPE),
    )  # fmt: skip


def _texts(texts: list[Any]) -> pa.Array:
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        held = [text and text.encode("utf-8", "backslashreplace").decode() for text in texts]
        return pa.array(held, pa.string())


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
        """Rejected rows of one file; what UTF-8 does not hold of a text, half of a pair, stands there escaped."""
        files, texts = pa.array([path] * len(rows), pa.string()), _texts(raw)
        return RejectedRows(files, pa.array(rows, pa.int64()), _texts(reasons), texts)

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
