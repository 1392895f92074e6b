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

    Values that are none, such as a text that is no UTF-8, pass: they lie where they should, and the readers name their
    row.

    Raises:
        pa.ArrowInvalid: a place in the memory is wrong.
    """
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        kind = _stored(column.type)
        if kind.equals(column.type):
            raise
        column.view(kind).validate(full=True)


def _stored(kind: Any) -> pa.DataType:
    """A type of the same memory in which every value is one: bytes for texts, numbers for dates and times of day."""
    types = pa.types
    for like, plain in ((types.is_string, pa.binary()), (types.is_large_string, pa.large_binary()),
                        (types.is_date64, pa.int64()), (types.is_time32, pa.int32()),
                        (types.is_time64, pa.int64())):  # fmt: skip
        if like(kind):
            return plain
    if types.is_struct(kind):
        return pa.struct([field.with_type(_stored(field.type)) for field in kind])
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_stored(kind.value_type)))
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_stored(kind.value_type)))
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_stored(kind.value_type)), kind.list_size)
    return kind


FORMAT = Format("Feather (Arrow IPC)", _count_feather, _read_feather, (".feather", ".arrow"))
