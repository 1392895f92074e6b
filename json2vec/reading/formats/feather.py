"""Feather, which is Arrow IPC: rows come batch by batch as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.ipc

from json2vec.reading.formats.format import Counted, Format, agree, between
from json2vec.reading.formats.piece import Piece


def _count_feather(file: IO[bytes], where: str, infer: bool) -> Counted:
    reader = pa.ipc.open_file(file)
    rows = reader.count_rows()
    if not rows:  # no reading comes to its batches
        for _ in _feather_batches(reader, where):
            pass
    return rows, reader.schema


def _read_feather(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    reader = pa.ipc.open_file(file)
    batches = _feather_batches(reader, where)
    yield from between(batches, 0, start, stop)
    if stop == reader.count_rows():
        for _ in batches:  # those that say they have no row
            pass


def _feather_batches(reader: Any, where: str) -> Iterator[pa.RecordBatch]:
    for i in range(reader.num_record_batches):
        batch = reader.get_batch(i)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            agree(where, f"batch {i} and its column {name!r} differ", batch.num_rows, len(column))
            _validate(column)
        yield batch


def _validate(column: Any) -> None:
    """Check every offset, index and null count: nothing else does before they are followed out of the memory.

    A flat text that is no UTF-8 passes: its bytes are where they should be, and the readers name its row.

    Raises:
        pa.ArrowInvalid: one of them is wrong.
    """
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as exc:
        if pa.types.is_nested(column.type) or "UTF8" not in str(exc):
            raise


FORMAT = Format("Feather (Arrow IPC)", _count_feather, _read_feather, (".feather", ".arrow"))
