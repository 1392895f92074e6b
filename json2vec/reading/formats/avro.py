"""Avro, by fastavro (the extra ``avro``): rows come block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa

from json2vec.errors import ReadError, missing_extra
from json2vec.reading.conform import Unifier
from json2vec.reading.formats.format import Counted, Format, agree, between
from json2vec.reading.formats.piece import Piece


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
    agree(where, f"the block that begins with row {at} and its records differ", block.num_records, len(records))
    _nothing_left(block, where, at)
    return _avro_batch(records, where, at)


def _nothing_left(block: Any, where: str, at: int) -> None:
    if left := len(block.bytes_.read()):
        raise ReadError(
            f"{where}: the block that begins with row {at} says {block.num_records} rows; expected its bytes to end "
            f"with them, found {left} more bytes. Remedy: write the file again, or leave it out with match= or paths="
        )


def _count_avro(file: IO[bytes], where: str, infer: bool) -> Counted:
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
            yield from between([_avro_rows(block, where, at)], at, start, stop)
        at += block.num_records


FORMAT = Format("Avro", _count_avro, _read_avro, (".avro",))
