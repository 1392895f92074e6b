"""One `Format` for each suffix: how many rows a file has of which schema, and its rows from one to another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.orc
import pyarrow.parquet as pq

from json2vec.enums import Suffix
from json2vec.errors import Json2VecError, ReadError, missing_extra
from json2vec.reading import text
from json2vec.reading.file_slices import MAX_PIECE_ROWS, BadRow, Piece

PIECE_BYTES = 16 << 20  # a piece of a Parquet file is decoded to about this much; rows of many MB come one by one

Counted = tuple[int, "pa.Schema | None"]


@dataclass(frozen=True)
class Format:
    """How files of one suffix are read.

    Attributes:
        name: for messages.
        count: (file, address, infer) -> rows and schema; the schema is None where ``infer`` is false and finding it
            would cost more than counting.
        read: (file, address, start, stop, schema) -> pieces of exactly the rows start..stop-1, in order, in the
            file's own types; ``schema`` is what they will be cast to, for formats that can parse straight to it.
        endings: of the files that belong to the format when no pattern is given.
    """

    name: str
    count: Callable[[IO[bytes], str, bool], Counted]
    read: Callable[[IO[bytes], str, int, int, pa.Schema], Iterator[Piece]]
    endings: tuple[str, ...] = field(default=())


def _count_parquet(file: IO[bytes], where: str, infer: bool) -> Counted:
    reader = pq.ParquetFile(file)
    return reader.metadata.num_rows, reader.schema_arrow


def _read_parquet(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    reader = pq.ParquetFile(file, page_checksum_verification=True)
    metadata = reader.metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    ends = np.cumsum([group.num_rows for group in groups], dtype=np.int64)
    begins = ends - [group.num_rows for group in groups]
    wanted = np.flatnonzero((ends > start) & (begins < stop)).tolist()
    held = set(reader.schema_arrow.names)
    columns = [name for name in schema.names if name in held]
    for i in wanted:
        bytes_per_row = groups[i].total_byte_size / max(1, groups[i].num_rows)
        rows = int(np.clip(PIECE_BYTES / max(1.0, bytes_per_row), 1, MAX_PIECE_ROWS))
        if not columns:  # a schema without a column of this file: rows of nulls
            batches: Any = _column_less(groups[i].num_rows)
        else:
            batches = reader.iter_batches(rows, row_groups=[i], columns=columns)
        yield from _between(batches, int(begins[i]), start, min(stop, int(ends[i])))


def _column_less(rows: int) -> Iterator[pa.RecordBatch]:
    yield pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))


def _between(batches: Any, at: int, start: int, stop: int) -> Iterator[Piece]:
    """The rows start..stop-1 of consecutive batches, the first of which begins with row ``at``."""
    for batch in batches:
        begin, end = max(start, at), min(stop, at + batch.num_rows)
        if begin < end:
            yield Piece.of(batch.slice(begin - at, end - begin), begin)
        at += batch.num_rows
        if at >= stop:
            return


def _count_feather(file: IO[bytes], where: str, infer: bool) -> Counted:
    reader = pa.ipc.open_file(file)
    return reader.count_rows(), reader.schema


def _read_feather(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    reader = pa.ipc.open_file(file)
    batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
    yield from _between(batches, 0, start, stop)


def _count_orc(file: IO[bytes], where: str, infer: bool) -> Counted:
    reader = pyarrow.orc.ORCFile(file)
    return reader.nrows, reader.schema


def _read_orc(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    reader = pyarrow.orc.ORCFile(file)
    at = 0
    for i in range(reader.nstripes):
        if at >= stop:
            return
        rows = reader.read_stripe(i, columns=reader.schema.names[:1]).num_rows
        if at + rows > start:  # the footer does not tell a stripe's rows; one column of it does
            yield from _between([reader.read_stripe(i)], at, start, stop)
        at += rows


def _fastavro(where: str) -> Any:
    if missing := missing_extra("avro", f"{where}: reading Avro files"):
        raise ReadError(missing)
    import fastavro

    return fastavro


def _avro_batch(records: list[Any], where: str, at: int) -> pa.RecordBatch:
    try:
        return pa.RecordBatch.from_struct_array(pa.array(records, None if records else pa.struct([])))
    except pa.ArrowException as exc:
        raise ReadError(
            f"{where}: rows {at} to {at + len(records) - 1}: values of one field have types without a common one "
            f"({exc}). Remedy: a union such as [int, string] has to be written as one type"
        ) from exc


def _count_avro(file: IO[bytes], where: str, infer: bool) -> Counted:
    from json2vec.reading.conform import Unifier

    fastavro, rows, unifier = _fastavro(where), 0, Unifier()
    for block in fastavro.block_reader(file):
        if infer:
            unifier.add(_avro_batch(list(block), where, rows).schema, where)
        rows += block.num_records
    return rows, unifier.schema if infer else None


def _read_avro(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    at = 0
    for block in _fastavro(where).block_reader(file):
        if at >= stop:
            return
        if at + block.num_records > start:
            yield from _between([_avro_batch(list(block), where, at)], at, start, stop)
        at += block.num_records


_NDJSON = Format("NDJSON", text.count_ndjson, text.read_ndjson, (".ndjson", ".jsonl", ".json"))
FORMATS = {
    Suffix.parquet: Format("Parquet", _count_parquet, _read_parquet, (".parquet",)),
    Suffix.feather: Format("Feather (Arrow IPC)", _count_feather, _read_feather, (".feather", ".arrow")),
    Suffix.orc: Format("ORC", _count_orc, _read_orc, (".orc",)),
    Suffix.csv: Format("CSV", text.count_csv, text.read_csv, (".csv",)),
    Suffix.ndjson: _NDJSON,
    Suffix.json: _NDJSON,
    Suffix.avro: Format("Avro", _count_avro, _read_avro, (".avro",)),
}


def read_error(where: str, suffix: Suffix, exc: BaseException) -> ReadError:
    """What to raise when a library could not read the file ``where``."""
    return ReadError(
        f"{where}: cannot be read as {FORMATS[suffix].name}: {exc or type(exc).__name__}. Remedy: write the file again "
        "(it may be corrupt, cut short or of another format), or leave it out with match= or paths="
    )


def foreign(exc: BaseException) -> bool:
    """Whether ``exc`` comes from the reading of a file and is not yet one of ours."""
    if isinstance(exc, Json2VecError):
        return False
    return isinstance(exc, pa.ArrowException | OSError | ValueError | EOFError | KeyError | IndexError | TypeError)


def ends_with(path: str, suffix: Suffix) -> bool:
    return os.path.basename(path).lower().endswith(FORMATS[suffix].endings)


__all__ = ["FORMATS", "BadRow", "Format", "Piece", "ends_with", "foreign", "read_error"]
