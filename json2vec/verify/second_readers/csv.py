"""CSV, every cell as text: what a text means is `json2vec.verify.same_value`'s business.

Where no quote is open at the end of a line, a record is a line, and Python's csv module takes the sampled ones apart. A
file with line breaks in its cells is read by DuckDB. Where DuckDB cannot (a compressed file, another encoding, records
of different lengths, a single column, in which DuckDB takes an empty line for a null) Python's module reads it all. It
does not tell a quoted empty cell from an empty one: where both are in a record, null and the empty text are the same.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from json2vec.verify.same_value import MaybeNull
from json2vec.verify.second_readers.duck import query, text
from json2vec.verify.second_readers.lines import Lines, is_compressed, line_blocks, open_text, picked
from json2vec.verify.second_readers.nearby import NearbyFile, NotCompared
from json2vec.verify.second_readers.reader import Options, Rows, SecondReader

_LONGEST = 64 << 20  # characters of a cell or line


class _NotLines(Exception):
    """A line of the file need not be a record."""


def _lines(file: NearbyFile, options: Options) -> Iterator[Lines]:
    """Records as lines.

    Raises:
        _NotLines: a quote is open at the end of a line, or there are line breaks of another kind.
    """
    if options.encoding.lower() not in ("utf-8", "utf8", "ascii"):
        raise _NotLines
    quote = None if options.quote is None else options.quote.encode()
    for lines in line_blocks(file, b"\r"):
        if lines.block.count(b"\r") != lines.block.count(b"\r\n"):
            raise _NotLines
        if quote is not None and (np.searchsorted(lines.places(quote), lines.stops) % 2).any():
            raise _NotLines
        yield lines


def _records(texts: Any, options: Options) -> Iterator[list[str]]:
    """The records that are not empty, by Python's csv module."""
    csv.field_size_limit(_LONGEST)
    quoting: Any = {"quoting": csv.QUOTE_NONE} if options.quote is None else {"quotechar": options.quote}
    try:
        yield from (one for one in csv.reader(texts, delimiter=options.separator, **quoting) if one)
    except (csv.Error, UnicodeDecodeError) as exc:
        raise NotCompared(f"Python's csv: {exc}") from exc


def _all_records(file: NearbyFile, options: Options) -> Iterator[list[str]]:
    encoding = "utf-8-sig" if options.encoding.lower() in ("utf-8", "utf8") else options.encoding
    with open_text(file) as raw, io.TextIOWrapper(raw, encoding, newline="") as texts:
        yield from _records(texts, options)


def _names(file: NearbyFile, options: Options) -> list[str]:
    if options.column_names is not None:
        return list(options.column_names)
    return next(_all_records(file, options), [])


def _table(file: NearbyFile, names: list[str], options: Options) -> str:
    """The records for DuckDB's SQL.

    Raises:
        NotCompared: it has no way to read such a file.
    """
    if len(names) < 2 or options.encoding.lower() not in ("utf-8", "utf8") or is_compressed(file):
        raise NotCompared("DuckDB: not for such files")
    columns = ", ".join(f"{text(f'c{i}')}: 'VARCHAR'" for i in range(len(names)))
    nulls = ", ".join(text(one) for one in options.null_values)
    return (
        f"read_csv({text(file.whole())}, auto_detect=false, header={str(options.header).lower()}, "
        f"delim={text(options.separator)}, quote={text(options.quote or '')}, escape={text(options.quote or '')}, "
        f"nullstr=[{nulls}], allow_quoted_nulls=false, max_line_size={_LONGEST}, hive_partitioning=false, "
        f"columns={{{columns}}})"
    )


def count_csv(file: NearbyFile, options: Options) -> int:
    """Records after the header."""
    try:
        return sum(map(len, _lines(file, options))) - options.header
    except _NotLines:
        pass
    try:
        return query(f"select count(*) from {_table(file, _names(file, options), options)}").column(0)[0].as_py()
    except NotCompared:
        return sum(1 for _ in _all_records(file, options)) - options.header


def rows_csv(file: NearbyFile, rows: Sequence[int], options: Options) -> Rows:
    names, header = _names(file, options), int(options.header)
    try:
        found, count = picked(_lines(file, options), rows, skip=header)
        texts = {row: line.decode(options.encoding).removesuffix("\r") for row, line in found.items()}
        records = _records(texts.values(), options)
        cells = {row: _cells(row, names, record, options, line=texts[row])
                 for row, record in zip(found, records, strict=True)}  # fmt: skip
        return Rows(cells, count=count)
    except _NotLines:
        pass
    try:
        return _quoted(file, names, rows, options)
    except NotCompared:
        records, wanted = enumerate(_all_records(file, options), -header), set(rows)
        return Rows({row: _cells(row, names, one, options) for row, one in records if row in wanted})


def _cells(
    row: int, names: list[str], record: list[str], options: Options, *, line: str | None = None
) -> dict[str, Any]:
    """The cells of a record by column. From its ``line``, if it is one, one sees which empty cells are quoted."""
    if len(record) != len(names):
        raise NotCompared(f"row {row} has {len(record)} cells, the header {len(names)}")
    null: Callable[[str], Any] = MaybeNull
    if line is not None and (options.quote is None or options.quote not in line):
        null = _null
    elif line is not None and set(options.null_values) == {""}:
        separator = re.escape(options.separator)
        quoted = len(re.findall(f"(?<![^{separator}]){options.quote}{options.quote}(?![^{separator}])", line))
        null = _null if not quoted else str if quoted == record.count("") else MaybeNull
    return {name: null(cell) if cell in options.null_values else cell
            for name, cell in zip(names, record, strict=True)}  # fmt: skip


def _null(cell: str) -> None:
    return None


def _quoted(file: NearbyFile, names: list[str], rows: Sequence[int], options: Options) -> Rows:
    numbers = ", ".join(str(row + 1) for row in rows)
    table = query(
        f"select * from (select *, row_number() over () as number from (from {_table(file, names, options)} "
        f"limit {rows[-1] + 1})) where number in ({numbers}) order by number"
    )
    columns = [column.to_pylist() for column in table.columns]
    return Rows({number - 1: dict(zip(names, cells, strict=True)) for *cells, number in zip(*columns, strict=True)})


READER = SecondReader("DuckDB and Python's csv", count_csv, rows_csv, places=2)
