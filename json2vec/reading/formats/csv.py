"""CSV: a row is a record after the header, and nothing but the texts says which type a column has.

Empty lines are no rows. An unquoted empty field is null; every other text is itself (``NA`` too). A column is int64,
double or bool where all its values are, without leading zeros and with at most 15 digits for a double without a point;
else text. ``0x1A`` is text, and so is ``1`` beside ``true``. ``input_schema=`` says otherwise, and
`json2vec.reading.options.CsvOptions` what separates cells. A record with more or fewer cells than columns, or with
bytes that are no text, is a bad row.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pacsv

from json2vec.errors import ReadError
from json2vec.reading.conform import Unifier
from json2vec.reading.formats.blocks import BLOCK_BYTES, BOM, RAW_CHARACTERS, text_blocks
from json2vec.reading.formats.compression import compressible
from json2vec.reading.formats.csv_records import Records, cells, records
from json2vec.reading.formats.format import Counted, Format, agree
from json2vec.reading.formats.piece import BadRow, Piece
from json2vec.reading.options import CsvOptions

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
_ENCODING = "say the encoding, as csv={'encoding': 'latin-1'} or 'utf-16'"
_SEPARATORS = ",;\t|"
_ZEROS = re.compile(rb"(?:\A|[\r\n])\0+(?:\Z|[\r\n])")  # a record of nothing else


class _Csv:
    """CSV files that are read with ``options``."""

    def __init__(self, options: CsvOptions) -> None:
        self.options = options
        self.separator = ord(options.separator)
        self.quote = None if options.quote is None else ord(options.quote)

    def count(self, file: IO[bytes], where: str, infer: bool) -> Counted:
        """Records after the header, and with ``infer`` the schema that all good ones fit."""
        rows, unifier = 0, Unifier(text=True)
        for names, some in self._records(file, where):
            if infer:
                batch = self._piece(names, some, where, rows).batch
                types = [_csv_type(column) for column in batch.columns]
                unifier.add(pa.schema(list(zip(names, types, strict=True))), where)
            rows += len(some)
        return rows, unifier.schema if infer else None

    def read(self, file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
        """The records start..stop-1, as text."""
        at = 0
        for names, some in self._records(file, where):
            a, b = max(0, start - at), min(len(some), stop - at)
            if a < b:
                yield self._piece(names, some.slice(a, b), where, at + a)
            at += len(some)
            if at >= stop:
                return

    def _records(self, file: IO[bytes], where: str) -> Iterator[tuple[list[str], Records]]:
        """The columns' names, and the records after the header; the first may be none."""
        blocks = text_blocks(file, where, BLOCK_BYTES, encoding=self.options.encoding, remedy=_ENCODING)
        names: list[str] | None = None
        for some in records(blocks, where, self.separator, self.quote, header=self.options.header):
            if names is None and len(some):
                names = self._names(some.one(0), where)
                some = some.slice(int(self.options.header), len(some))
            if names is not None:
                yield names, some
        if names is None:
            raise ReadError(
                f"{where} holds empty lines alone; expected a header. Remedy: write it again, or leave it out with "
                "match= or paths="
            )

    def _names(self, record: bytes, where: str) -> list[str]:
        named = self.options.column_names
        if not self.options.header and named is not None:
            return _unique(list(named), where)
        try:
            text = record.decode()
            quoting: Any = {"quoting": csv.QUOTE_NONE} if self.quote is None else {"quotechar": self.options.quote}
            found = next(csv.reader(io.StringIO(text, newline=""), delimiter=self.options.separator, **quoting))
        except UnicodeDecodeError as exc:
            raise ReadError(f"{where}: the header is no UTF-8: {exc}. Remedy: {_ENCODING}") from exc
        except csv.Error as exc:
            raise ReadError(
                f"{where}: the header cannot be read: {exc}. Remedy: mend it, or leave the file out with match= "
                "or paths="
            ) from exc
        if named is not None and len(named) != len(found):
            raise ReadError(
                f"{where}: column_names gives {len(named)} names; the header has {len(found)} columns {found}. Remedy: "
                "give as many names, in the order of the file"
            )
        if named is not None:
            return _unique(list(named), where)
        if "\0" in text:
            raise ReadError(
                f"{where}: the header {text[:40]!r} holds zero bytes. Remedy: {_ENCODING}, or write the file again"
            )
        other = next((one for one in _SEPARATORS if one in text and one != self.options.separator), None)
        if len(found) == 1 and other is not None and record[0] != self.quote:
            raise ReadError(
                f"{where}: the header is one column {text[:80]!r} that holds {other!r}; expected columns with "
                f"{self.options.separator!r} between them. Remedy: say csv={{'separator': {other!r}}}, or where it is "
                "one column indeed, csv={'column_names': [its name]}"
            )
        return _unique(found, where)

    def _piece(self, names: list[str], some: Records, where: str, at: int) -> Piece:
        """The records as text, the first of which has number ``at``, with those aside that are no rows."""
        n = len(some)
        try:
            return Piece.of(self._parse(names, some.text(0, n), n, where), at)
        except (pa.ArrowInvalid, _Unfit):
            bad = self._bad(names, some)
        if not bad:  # one of Arrow's reasons that we do not know
            return Piece.of(self._parse(names, some.text(0, n), n, where), at)
        good = np.setdiff1d(np.arange(n), list(bad))
        batch = self._parse(names, b"\n".join(some.one(i) for i in good.tolist()), len(good), where)
        rows = [BadRow(at + i, why, some.one(i).decode("utf-8", "replace")[:RAW_CHARACTERS]) for i, why in bad.items()]
        return Piece(batch, good + at, tuple(rows))

    def _parse(self, names: list[str], data: bytes, n: int, where: str) -> pa.RecordBatch:
        if BOM in data and (data.startswith(BOM) or b"\n" + BOM in data or b"\r" + BOM in data):
            raise _Unfit
        if b"\0" in data and _ZEROS.search(data):
            raise _Unfit
        schema = pa.schema([(name, pa.string()) for name in names])
        if not n:
            return pa.RecordBatch.from_pylist([], schema)
        if not data.endswith(b"\n"):  # else Arrow takes an empty last cell behind a quoted one for a quoted one
            data += b"\n"
        # One Arrow block for all, so that no record straddles two.
        table = pacsv.read_csv(
            pa.BufferReader(data),
            pacsv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            pacsv.ParseOptions(
                delimiter=self.options.separator, quote_char=self.options.quote or False, newlines_in_values=True
            ),
            pacsv.ConvertOptions(
                column_types=schema, null_values=list(self.options.null_values), strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )  # fmt: skip
        agree(where, "its records, and those that Arrow finds, differ", n, table.num_rows)
        return table.combine_chunks().to_batches()[0]

    def _bad(self, names: list[str], some: Records) -> dict[int, str]:
        """Why records are no rows, in their order."""
        counts, bad = cells(some, self.separator, self.quote), {}
        for i, count in enumerate(counts.tolist()):
            record = some.one(i)
            if record.startswith(BOM):
                bad[i] = "it begins with a byte order mark, as where files were joined"
            elif not record.strip(b"\0"):
                bad[i] = "it is zero bytes alone, as where a disk was full or a machine stopped"
            elif count != len(names):
                bad[i] = f"expected {len(names)} cells, found {count}"
            elif why := _no_text(record):
                bad[i] = why
        return bad


class _Unfit(Exception):
    """Some record is no row."""


def _no_text(record: bytes) -> str | None:
    try:
        record.decode()
    except UnicodeDecodeError as exc:
        return f"its byte {exc.start} is no UTF-8 ({exc.reason}); if the file has another encoding, {_ENCODING}"
    return None


def _unique(names: list[str], where: str) -> list[str]:
    if len(set(names)) < len(names):
        raise ReadError(
            f"{where}: column names {names} occur more than once. Remedy: name each column once, or say "
            "csv={'column_names': [...]}"
        )
    return names


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


def csv_format(options: CsvOptions) -> Format:
    """CSV that is read with ``options``."""
    files = _Csv(options)
    a_row = "a CSV record that fits the header"
    return Format("CSV", files.count, files.read, compressible(".csv"), "texts", a_row=a_row)


FORMAT = csv_format(CsvOptions())
