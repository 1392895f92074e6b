"""Avro, by fastavro (the extra ``avro``): rows come block by block, in the types that the file declares."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa

from json2vec.errors import ReadError, missing_extra
from json2vec.reading.conform import first_failing
from json2vec.reading.formats.avro_types import AvroType, Named, avro_type, without_logical_types
from json2vec.reading.formats.format import Counted, Format, agree, between
from json2vec.reading.formats.piece import Piece

_PACKAGES = {"snappy": "cramjam", "zstandard": "backports.zstd", "lz4": "lz4"}
"""What has to be installed for codecs that Python does not bring."""
_BUILT_IN = ("null", "deflate", "bzip2", "xz")


class _File:
    """An Avro file that is open: its blocks, and the columns that its rows become.

    Args:
        names: the columns to read; None reads all.
    """

    def __init__(self, file: IO[bytes], where: str, names: list[str] | None) -> None:
        if missing := missing_extra("avro", f"{where}: reading Avro files"):
            raise ReadError(missing)
        import fastavro

        self._where, self._fastavro = where, fastavro
        self._reader: Any = fastavro.block_reader(file)
        schema: Any = self._reader.writer_schema
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise ReadError(
                f"{where}: its rows are of the Avro type {schema!r:.80}; expected a record. Remedy: write each value "
                "as a field of a record"
            )
        self.columns: dict[str, AvroType] = {}
        named, fields = Named(where, {schema["name"]: None}), []
        for field in schema["fields"]:
            try:
                made = avro_type(field["type"], named, field["name"])
            except ReadError:
                if names is None or field["name"] in names:
                    raise
                made = AvroType(pa.null(), without_logical_types(field["type"]))
            else:
                if names is None or field["name"] in names:
                    self.columns[field["name"]] = made
            fields.append({"name": field["name"], "type": made.bare})
        record = {"type": "record", "name": schema["name"], "fields": fields}
        self._rows_schema = fastavro.parse_schema({"type": "array", "items": record})

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, one.kind) for name, one in self.columns.items()])

    def blocks(self) -> Iterator[Any]:
        """The blocks, decompressed and not decoded yet."""
        try:
            yield from self._reader
        except ValueError as exc:
            codec = self._reader.codec
            if codec in _PACKAGES and "install" in str(exc):
                raise ReadError(
                    f"{self._where}: its blocks are compressed with {codec}, for which {_PACKAGES[codec]} has to be "
                    f"installed. Remedy: pip install {_PACKAGES[codec]}"
                ) from exc
            if codec not in (*_BUILT_IN, *_PACKAGES):
                raise ReadError(
                    f"{self._where}: its blocks are compressed with {codec!r}; expected one of "
                    f"{', '.join((*_BUILT_IN, *_PACKAGES))}. Remedy: write the file again with one of them"
                ) from exc
            raise

    def rows(self, block: Any, at: int) -> pa.RecordBatch:
        """The rows of a block, the first of which has number ``at`` in the file."""
        # Avro writes an array as the number of its items, the items, and a zero: so all rows are decoded in one call.
        n, where = block.num_records, self._where
        data = io.BytesIO(_long(n) + block.bytes_.read() + b"\0")
        rows: Any = self._fastavro.schemaless_reader(data, self._rows_schema, None) if n else []
        if left := len(data.read()) - (2 if not n else 0):
            raise ReadError(
                f"{where}: the block that begins with row {at} says {n} rows; expected its bytes to end with them, "
                f"found {left} more bytes. Remedy: write the file again, or leave it out with match= or paths="
            )
        agree(where, f"the block that begins with row {at} and its records differ", n, len(rows))
        if not self.columns:
            return pa.RecordBatch.from_struct_array(pa.array([{}] * n, pa.struct([])))
        arrays = [self._array([row[name] for row in rows], name, at) for name in self.columns]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _array(self, values: list[Any], name: str, at: int) -> pa.Array:
        column = self.columns[name]
        if column.convert is not None:
            values = [column.convert(value) for value in values]
        try:
            return pa.array(values, column.kind)
        except (pa.ArrowException, OverflowError) as exc:
            row = first_failing(len(values), lambda a, b: _fits(values[a:b], column.kind))
            raise ReadError(
                f"{self._where}: row {at + row}: column {name!r} holds {values[row]!r:.80}; expected a value that "
                f"{column.kind}, the type that the file declares, holds exactly ({exc}). Remedy: write the file again"
            ) from exc


def _fits(values: list[Any], kind: pa.DataType) -> bool:
    try:
        pa.array(values, kind)
    except (pa.ArrowException, OverflowError):
        return False
    return True


def _long(number: int) -> bytes:
    """An integer as Avro writes it: zigzag, seven bits a byte."""
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def _count_avro(file: IO[bytes], where: str, infer: bool) -> Counted:
    opened, rows = _File(file, where, None if infer else []), 0
    for block in opened.blocks():
        if not block.num_records:  # no reading comes to it
            opened.rows(block, rows)
        rows += block.num_records
    return rows, opened.schema if infer else None


def _read_avro(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    opened, at = _File(file, where, schema.names), 0
    for block in opened.blocks():
        if at >= stop:
            return
        if at + block.num_records > start:
            yield from between([opened.rows(block, at)], at, start, stop)
        at += block.num_records


FORMAT = Format("Avro", _count_avro, _read_avro, (".avro",))
