"""One quiet DuckDB for the second readers: in memory, one thread, nothing fetched, times in UTC."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

from json2vec.verify.second_readers.nearby import NotCompared


@cache
def _database() -> Any:
    import duckdb

    database = duckdb.connect(":memory:", config={
        "threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False,
    })  # fmt: skip
    with contextlib.suppress(duckdb.Error):  # a build without time zones gives times without one
        database.execute("set global TimeZone = 'UTC'")
    return database


def query(sql: str) -> Any:
    """The rows that a query gives, as a pa.Table.

    Raises:
        NotCompared: DuckDB cannot answer; says why in its words.
    """
    import duckdb

    try:
        return _database().cursor().sql(sql).to_arrow_table()
    except duckdb.Error as exc:
        raise NotCompared(f"DuckDB: {str(exc).splitlines()[0]}") from exc


def text(value: object) -> str:
    """A text as SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def name(column: str) -> str:
    """A column's name as SQL."""
    return '"' + column.replace('"', '""') + '"'
