"""One `Format` for each suffix: how many rows a file has of which schema, and its rows from one to another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.orc
import pyarrow.parquet as pq

from json2vec.enums import Suffix
from json2vec.errors import Json2VecError, ReadError, missing_extra
from json2vec.reading import text
from json2vec.reading.file_slices import MAX_PIECE_ROWS, BadRow, Piece
from json2vec.reading.int96 import checked_int96, int96_columns
from json2vec.reading.orc_tail import orc_stripe_rows

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
        types: where a column's type comes from: the file declares it; it is inferred from values that have types of
            their own, as in JSON; or it is inferred from texts.
    """

    name: str
    count: Callable[[IO[bytes], str, bool], Counted]
    read: Callable[[IO[bytes], str, int, int, pa.Schema], Iterator[Piece]]
    endings: tuple[str, ...] = field(default=())
    types: Literal["declared", "inferred", "texts"] = "declared"


def _agree(where: str, what: str, expected: int, found: int) -> None:
    """Raise unless two places of a file that tell its rows say the same: one of them would lose rows."""
    if expected != found:
        raise ReadError(
            f"{where}: {what}: expected {expected} rows, found {found}. The file contradicts itself, so that nobody "
            "can say which rows it holds. Remedy: write it again, or leave it out with match= or paths="
        )


def _count_parquet(file: IO[bytes], where: str, infer: bool) -> Counted:
    reader = pq.ParquetFile(file)
    metadata = reader.metadata
    rows = sum(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    _agree(where, "the footer's num_rows and the sum of its row groups differ", metadata.num_rows, rows)
    return rows, reader.schema_arrow


def _read_parquet(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    reader = pq.ParquetFile(file, page_checksum_verification=True)
    metadata = reader.metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    ends = np.cumsum([group.num_rows for group in groups], dtype=np.int64)
    begins = ends - [group.num_rows for group in groups]
    wanted = np.flatnonzero((ends > start) & (begins < stop)).tolist()
    held = set(reader.schema_arrow.names)
    columns = [name for name in schema.names if name in held]
    int96 = int96_columns(reader, columns)
    flat = [i for i in range(metadata.num_columns) if metadata.schema.column(i).max_repetition_level == 0]
    for i in wanted:
        for j in flat:  # a column without lists has one value or null a row
            what = f"row group {i} and its column {metadata.schema.column(j).path!r} differ"
            _agree(where, what, groups[i].num_rows, groups[i].column(j).num_values)
        bytes_per_row = groups[i].total_byte_size / max(1, groups[i].num_rows)
        rows = int(np.clip(PIECE_BYTES / max(1.0, bytes_per_row), 1, MAX_PIECE_ROWS))
        if not columns:  # a schema without a column of this file: rows of nulls
            batches: Any = _column_less(groups[i].num_rows)
        else:
            batches = reader.iter_batches(rows, row_groups=[i], columns=columns)
            if int96:
                batches = checked_int96(file, metadata, batches, int96, schema, i, rows, where, int(begins[i]))
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
    rows = reader.count_rows()
    if not rows:  # no reading comes to its batches
        for _ in _feather_batches(reader, where):
            pass
    return rows, reader.schema


def _read_feather(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    reader = pa.ipc.open_file(file)
    batches = _feather_batches(reader, where)
    yield from _between(batches, 0, start, stop)
    if stop == reader.count_rows():
        for _ in batches:  # those that say they have no row
            pass


def _feather_batches(reader: Any, where: str) -> Iterator[pa.RecordBatch]:
    for i in range(reader.num_record_batches):
        batch = reader.get_batch(i)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            _agree(where, f"batch {i} and its column {name!r} differ", batch.num_rows, len(column))
        batch.validate()  # lengths inside the columns and of their buffers; no value is looked at
        yield batch


def _count_orc(file: IO[bytes], where: str, infer: bool) -> Counted:
    reader = pyarrow.orc.ORCFile(file)
    rows = sum(orc_stripe_rows(reader.reader.serialized_file_tail()))
    _agree(where, "the footer's numberOfRows and the sum of its stripes differ", reader.nrows, rows)
    return rows, reader.schema


def _read_orc(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    reader = pyarrow.orc.ORCFile(file)
    at = 0
    for i, rows in enumerate(orc_stripe_rows(reader.reader.serialized_file_tail())):
        if at >= stop:
            return
        if at + rows > start:
            stripe = reader.read_stripe(i)
            _agree(where, f"the footer and stripe {i} differ", rows, stripe.num_rows)
            yield from _between([stripe], at, start, stop)
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


def _avro_rows(block: Any, where: str, at: int) -> pa.RecordBatch:
    """The rows of a block, the first of which has number ``at`` in the file."""
    records = list(block)
    _agree(where, f"the block that begins with row {at} and its records differ", block.num_records, len(records))
    _nothing_left(block, where, at)
    return _avro_batch(records, where, at)


def _nothing_left(block: Any, where: str, at: int) -> None:
    if left := len(block.bytes_.read()):
        raise ReadError(
            f"{where}: the block that begins with row {at} says {block.num_records} rows; expected its bytes to end "
            f"with them, found {left} more bytes. Remedy: write the file again, or leave it out with match= or paths="
        )


def _count_avro(file: IO[bytes], where: str, infer: bool) -> Counted:
    from json2vec.reading.conform import Unifier

    fastavro, rows, unifier = _fastavro(where), 0, Unifier()
    for block in fastavro.block_reader(file):
        if infer:
            unifier.add(_avro_rows(block, where, rows).schema, where)
        elif not block.num_records:  # no reading comes to it
            _nothing_left(block, where, rows)
        rows += block.num_records
    return rows, unifier.schema if infer else None


def _read_avro(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    at = 0
    for block in _fastavro(where).block_reader(file):
        if at >= stop:
            return
        if at + block.num_records > start:
            yield from _between([_avro_rows(block, where, at)], at, start, stop)
        at += block.num_records


_NDJSON = Format("NDJSON", text.count_ndjson, text.read_ndjson, (".ndjson", ".jsonl", ".json"), "inferred")
FORMATS = {
    Suffix.parquet: Format("Parquet", _count_parquet, _read_parquet, (".parquet",)),
    Suffix.feather: Format("Feather (Arrow IPC)", _count_feather, _read_feather, (".feather", ".arrow")),
    Suffix.orc: Format("ORC", _count_orc, _read_orc, (".orc",)),
    Suffix.csv: Format("CSV", text.count_csv, text.read_csv, (".csv",), "texts"),
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


def declares_types(suffix: str) -> bool:
    """Whether files of this suffix say themselves of which type a column is; an unknown one counts as such."""
    return suffix not in list(Suffix) or FORMATS[Suffix(suffix)].types == "declared"


def ends_with(path: str, suffix: Suffix) -> bool:
    return os.path.basename(path).lower().endswith(FORMATS[suffix].endings)


__all__ = ["FORMATS", "BadRow", "Format", "Piece", "declares_types", "ends_with", "foreign", "read_error"]
