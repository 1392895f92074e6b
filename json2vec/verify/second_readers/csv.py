"""CSV by DuckDB, every column as text: what a text means is `json2vec.verify.same_value`'s business.

A file with a single column is read by Python's own csv module: an empty line is no row to us, and a null to DuckDB.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from json2vec.verify.second_readers.duck import query, text
from json2vec.verify.second_readers.nearby import NearbyFile, NotCompared
from json2vec.verify.second_readers.reader import Rows, SecondReader

_LONGEST_LINE = 64 << 20


def _records(file: NearbyFile) -> Iterator[list[str]]:
    """The records that are not blank, by Python's own module."""
    csv.field_size_limit(_LONGEST_LINE)
    with file.open() as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as lines:
        try:
            yield from (record for record in csv.reader(lines, strict=False) if record)
        except (csv.Error, UnicodeDecodeError) as exc:
            raise NotCompared(f"Python's csv: {exc}") from exc


def _header(file: NearbyFile) -> list[str]:
    return next(_records(file), [])


def _table(file: NearbyFile, names: list[str]) -> str:
    columns = ", ".join(f"{text(f'c{i}')}: 'VARCHAR'" for i in range(len(names)))
    return (
        f"read_csv({text(file.whole())}, auto_detect=false, header=true, delim=',', quote='\"', escape='\"', "
        f"nullstr='', allow_quoted_nulls=false, max_line_size={_LONGEST_LINE}, hive_partitioning=false, "
        f"columns={{{columns}}})"
    )


def count_csv(file: NearbyFile) -> int:
    """Records after the header."""
    names = _header(file)
    if len(names) == 1:
        return sum(1 for _ in _records(file)) - 1
    return query(f"select count(*) from {_table(file, names)}").column(0)[0].as_py()


def rows_csv(file: NearbyFile, rows: Sequence[int]) -> Rows:
    names, wanted = _header(file), set(rows)
    if len(names) == 1:
        records = enumerate(_records(file), -1)
        return Rows({row: {names[0]: record[0]} for row, record in records if row in wanted})
    numbers = ", ".join(str(row + 1) for row in rows)
    table = query(
        f"select * from (select *, row_number() over () as number from (from {_table(file, names)} "
        f"limit {rows[-1] + 1})) where number in ({numbers}) order by number"
    )
    columns = [column.to_pylist() for column in table.columns]
    return Rows({
        number - 1: dict(zip(names, values, strict=True)) for *values, number in zip(*columns, strict=True)
    })  # fmt: skip


READER = SecondReader("DuckDB", count_csv, rows_csv, places=2)
