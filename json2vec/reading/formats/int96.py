"""INT96 timestamps of Parquet: Arrow reads them as nanoseconds, and 9999-12-31, "no end", comes out as 1816.

An INT96 is a day and a nanosecond of it; 64 bits of nanoseconds end in 2262. So the column is decoded as seconds, too,
which hold every day, and the two are compared: a time that does not fit is an error of its row. Where the column is to
become microseconds or dates it is decoded as microseconds, and then it is nanoseconds that may not fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.errors import ReadError
from json2vec.reading.exact import shown
from json2vec.reading.plain import spans

__all__ = ["checked_int96", "int96_columns"]

_SECOND = 10**9
_LAST, _FIRST = (2**63 - 1) // _SECOND, -(2**63) // _SECOND  # the seconds in which 64 bits of nanoseconds end and begin


def int96_columns(reader: pq.ParquetFile, names: list[str]) -> list[str]:
    """Those of the columns ``names`` that hold INT96, at any depth; one with a name like theirs may be among them."""
    schema: Any = reader.metadata.schema
    paths = [schema.column(i).path for i in range(reader.metadata.num_columns)
             if schema.column(i).physical_type == "INT96"]  # fmt: skip
    return [name for name in names if any(path == name or path.startswith(f"{name}.") for path in paths)]


def checked_int96(
    file: IO[bytes], metadata: Any, batches: Iterator[pa.RecordBatch], names: list[str], schema: pa.Schema, group: int,
    rows: int, where: str, first: int,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """``batches`` with exact times in the columns ``names``.

    Args:
        file: the Parquet file.
        metadata: its footer, so that it is not parsed again for every row group.
        batches: the batches of row group ``group``, INT96 as nanoseconds.
        schema: what the columns become; those without a timestamp[ns] are given in microseconds.
        rows: to decode at a time.
        where: the file, for messages.
        first: the row in the file of the group's first.

    Raises:
        ReadError: a time that its column does not hold; names file, row and column.
    """
    coarse = [name for name in names if _is_coarse(schema.field(name).type)]
    seconds = _Aligned(file, metadata, "s", group, rows, names)
    micros = _Aligned(file, metadata, "us", group, rows, coarse) if coarse else None
    for batch in batches:
        second = seconds.take(batch.num_rows)
        micro = None if micros is None else micros.take(batch.num_rows)
        for name in names:
            at = batch.schema.get_field_index(name)
            bad = _bad(batch.column(at), second.column(name), name in coarse)
            if bad.any():
                row = int(np.argmax(bad))
                kind = schema.field(name).type
                raise ReadError(
                    f"{where}: row {first + row}: column {name!r} holds an INT96 time, in seconds "
                    f"{shown(second.column(name)[row])}, which {kind} does not hold exactly. Remedy: say input_schema= "
                    f"with pa.timestamp({'ns' if name in coarse else 'us'!r}), or write it as INT64 microseconds"
                )
            if micro is not None and name in coarse:
                batch = batch.set_column(at, name, micro.column(name))
        yield batch
        first += batch.num_rows


class _Aligned:
    """INT96 columns of a row group in another unit, as many rows at a time as somebody else's batches have."""

    def __init__(self, file: IO[bytes], metadata: Any, unit: str, group: int, rows: int, names: list[str]) -> None:
        reader = pq.ParquetFile(
            file, metadata=metadata, coerce_int96_timestamp_unit=unit, page_checksum_verification=True
        )
        self._batches: Any = reader.iter_batches(rows, row_groups=[group], columns=names)
        self._left: pa.RecordBatch | None = None

    def take(self, n: int) -> pa.RecordBatch:
        parts, wanted = [], n
        while wanted:
            batch = self._left if self._left is not None else next(self._batches)
            parts.append(batch.slice(0, wanted))
            self._left = batch.slice(wanted) if batch.num_rows > wanted else None
            wanted -= parts[-1].num_rows
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


def _is_coarse(kind: Any) -> bool:
    """Whether ``kind`` has times, none of them in nanoseconds."""
    units = set(_units(kind))
    return bool(units) and "ns" not in units


def _units(kind: Any) -> Iterator[str]:
    if pa.types.is_nested(kind):
        for i in range(kind.num_fields):
            yield from _units(kind.field(i).type)
    elif pa.types.is_date(kind):
        yield "day"
    elif pa.types.is_timestamp(kind):
        yield kind.unit


def _bad(nanos: Any, seconds: Any, coarse: bool) -> np.ndarray:
    """bool (n,): rows with a time, at any depth, that nanoseconds (``coarse``: microseconds) do not hold."""
    kind = nanos.type
    if pa.types.is_timestamp(kind):
        if kind.equals(seconds.type):  # no INT96
            return np.zeros(len(nanos), bool)
        valid = nanos.is_valid().to_numpy(zero_copy_only=False)
        nano, second = (a.cast(pa.int64()).fill_null(0).to_numpy() for a in (nanos, seconds))
        if coarse:  # the difference is below a second, and right even where the nanoseconds have overflowed
            return valid & ((nano - second * np.int64(_SECOND)) % 1000 != 0)
        after, before = (second > _LAST), (second < _FIRST)
        return valid & (after | before | ((second == _LAST) & (nano < 0)) | ((second == _FIRST) & (nano > 0)))
    if pa.types.is_struct(kind):
        found = np.zeros(len(nanos), bool)
        for i in range(kind.num_fields):
            found |= _bad(nanos.field(i), seconds.field(i), coarse)
        return found
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        nano, second = (some.values.slice(some.offset * size, len(some) * size) for some in (nanos, seconds))
        return np.asarray(_bad(nano, second, coarse).reshape(len(nanos), size).any(axis=1))
    if not (pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return np.zeros(len(nanos), bool)
    (offsets, begin, end), (_, other, _) = spans(nanos), spans(seconds)  # each may be a slice of more

    def items(name: str) -> tuple[Any, Any]:
        return getattr(nanos, name).slice(begin, end - begin), getattr(seconds, name).slice(other, end - begin)

    inner = np.zeros(end - begin, bool)
    for name in ("keys", "items") if pa.types.is_map(kind) else ("values",):
        inner |= _bad(*items(name), coarse)
    count = np.concatenate([np.zeros(1, np.int64), np.cumsum(inner)])[offsets]
    return count[1:] > count[:-1]
