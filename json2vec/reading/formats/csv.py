"""CSV: a row is a record after the header, and nothing but the texts says which type a column has.

Empty lines are no rows. An unquoted empty field is null; every other text is itself (``NA`` too). A column is int64,
double or bool where all its values are, without leading zeros and with at most 15 digits for a double without a point;
else text. ``0x1A`` is text, and so is ``1`` beside ``true``. ``input_schema=`` says otherwise.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pacsv

from json2vec.errors import ReadError
from json2vec.reading.conform import Unifier
from json2vec.reading.formats.blocks import BLOCK_BYTES, NO_TEXT
from json2vec.reading.formats.format import Counted, Format
from json2vec.reading.formats.piece import Piece

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


def _csv_texts(file: IO[bytes], where: str) -> Iterator[pa.RecordBatch]:
    """The records with every column as text; the first batch may have no rows but has the columns."""
    read = pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    file.seek(0, 2)
    if file.tell() == 0:
        raise ReadError(f"{where} {NO_TEXT}")
    file.seek(0)
    names = _csv_header(file, where)
    file.seek(0)
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )  # fmt: skip
    reader: Any = pacsv.open_csv(file, read, pacsv.ParseOptions(newlines_in_values=True), convert)
    yield pa.RecordBatch.from_pylist([], reader.schema)
    yield from reader


def _csv_header(file: IO[bytes], where: str) -> list[str]:
    """Column names; read apart, as Arrow would guess types first and fail on the first block's."""
    records = csv.reader(io.TextIOWrapper(_Unclosed(file), "utf-8-sig", newline=""))  # type: ignore[arg-type]
    names = next((record for record in records if record), [])
    if len(set(names)) < len(names):
        raise ReadError(f"{where}: column names {names} occur more than once. Remedy: name each column once")
    return names


class _Unclosed:
    """A file that a wrapper may not close."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.closed = False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def read1(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def count_csv(file: IO[bytes], where: str, infer: bool) -> Counted:
    """Records after the header, and with ``infer`` the schema that all of them fit."""
    rows, unifier = 0, Unifier(text=True)
    for batch in _csv_texts(file, where):
        if infer:
            types = [_csv_type(column) for column in batch.columns]
            unifier.add(pa.schema(list(zip(batch.schema.names, types, strict=True))), where)
        rows += batch.num_rows
    return rows, unifier.schema if infer else None


def _csv_type(column: pa.Array) -> pa.DataType:
    if column.null_count == len(column):
        return pa.null()
    identifier = pc.any(pc.match_substring_regex(column, r"^[-+]?(0[0-9xX]|[0-9]{16})")).as_py()
    kinds = [pa.int64(), pa.float64(), pa.bool_()]
    if identifier:  # 007 is no 7, 0x1A no 26, and 16 digits and more would lose some as a double
        leading = pc.any(pc.match_substring_regex(column, r"^[-+]?0[0-9xX]")).as_py()
        kinds = [] if leading else [pa.int64()]
    elif pc.any(pc.is_in(column, pa.array(["0", "1"]))).as_py():
        kinds.remove(pa.bool_())  # beside true, 1 would become true
    for kind in kinds:
        try:
            column.cast(kind)
            return kind
        except pa.ArrowInvalid:
            continue
    return pa.string()


def read_csv(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    """The records start..stop-1, as text."""
    at = 0
    for batch in _csv_texts(file, where):
        a, b = max(0, start - at), min(batch.num_rows, stop - at)
        if a < b:
            yield Piece.of(batch.slice(a, b - a), at + a)
        at += batch.num_rows
        if at >= stop:
            return


FORMAT = Format("CSV", count_csv, read_csv, (".csv",), "texts")
