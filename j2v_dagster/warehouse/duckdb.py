"""DuckDB: a partition is deleted and inserted by name in one transaction.

DuckDB lets one process write a file at a time and quietly drops struct fields that a table does not have, hence the
bounded wait for the file's lock and the comparison of schemas before anything is written.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from j2v_dagster.warehouse.base import Loaded, SchemaDrift, WarehouseError
from j2v_dagster.warehouse.refusals import check_name, check_rows, describe_drift

_INCOMING = "j2v_incoming"
_LOCKS: dict[str, threading.Lock] = {}
_LOCKS_GUARD = threading.Lock()


def quote(identifier: str) -> str:
    """``identifier`` as one quoted SQL identifier, whatever it holds.

    Raises:
        WarehouseError: an empty identifier or one with a NUL.
    """
    return '"' + check_name(identifier).replace('"', '""') + '"'


class DuckDBWarehouse:
    """Tables in one DuckDB file.

    Args:
        path: the database file; made on first use, with its folder.
        schema: the database schema of all tables; made on first use.
        lock_timeout_s: seconds to wait for another process, or thread, that writes the file.
    """

    kind = "duckdb"

    def __init__(self, path: str | os.PathLike[str], *, schema: str = "main", lock_timeout_s: float = 60.0) -> None:
        self.path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        self.schema = schema
        self.lock_timeout_s = lock_timeout_s

    def uri(self, table: str) -> str:
        return f"duckdb://{self.path}/{self.schema}/{table}"

    def replace_partition(
        self,
        *,
        table: str,
        partition_column: str,
        partition: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        rows: int,
        note: Mapping[str, str] | None = None,
    ) -> Loaded:
        """See `j2v_dagster.warehouse.base.Warehouse.replace_partition`; DuckDB keeps no notes of its commits."""
        name = f"{quote(self.schema)}.{quote(table)}"
        column = quote(partition_column)
        with self._connect() as connection:
            try:
                connection.execute("BEGIN")
                created = self._prepare(connection, table, schema, partition_column)
                replaced = _count(connection, f"DELETE FROM {name} WHERE {column} = ?", partition)
                connection.register(_INCOMING, pa.RecordBatchReader.from_batches(schema, batches))
                _count(
                    connection,
                    f"INSERT INTO {name} BY NAME SELECT *, ?::VARCHAR AS {column} FROM {_INCOMING}",
                    partition,
                )
                connection.unregister(_INCOMING)
                found = _count(connection, f"SELECT count(*) FROM {name} WHERE {column} = ?", partition)
                check_rows(f"table {self.uri(table)}, partition {partition!r}", found, rows)
                connection.execute("COMMIT")
            except duckdb.Error as exc:
                raise WarehouseError(
                    f"table {self.uri(table)}, partition {partition!r}: {exc}. Nothing was changed"
                ) from exc
            # Leaving the connection without COMMIT rolls back.
            return Loaded(rows=found, replaced=replaced, created=created)

    def _prepare(
        self, connection: duckdb.DuckDBPyConnection, table: str, schema: pa.Schema, partition_column: str
    ) -> bool:
        """Make the table, or compare its columns with those to load; whether it was made."""
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(self.schema)}")
        expected = {**_types(connection, schema), partition_column: "VARCHAR"}
        found = dict(
            connection.execute(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = current_database() "
                "AND schema_name = ? AND table_name = ? ORDER BY column_index",
                [self.schema, table],
            ).fetchall()
        )
        if not found:
            columns = ", ".join(f"{quote(name)} {kind}" for name, kind in expected.items())
            connection.execute(f"CREATE TABLE {quote(self.schema)}.{quote(table)} ({columns})")
            return True
        if found != expected:
            raise SchemaDrift(self._drift(table, expected, found))
        return False

    def _drift(self, table: str, expected: dict[str, str], found: dict[str, str]) -> str:
        alter = f"ALTER TABLE {quote(self.schema)}.{quote(table)}"
        return describe_drift(
            self.uri(table), expected, found, how="run: {};",
            add=lambda column, new: f"{alter} ADD COLUMN {quote(column)} {new}",
            drop=lambda column: f"{alter} DROP COLUMN {quote(column)}",
            change=lambda column, new: f"{alter} ALTER COLUMN {quote(column)} TYPE {new}",
        )  # fmt: skip

    @contextmanager
    def _connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The only connection of this process, once no other process writes the file."""
        with _LOCKS_GUARD:
            lock = _LOCKS.setdefault(self.path, threading.Lock())
        deadline = time.monotonic() + self.lock_timeout_s
        if not lock.acquire(timeout=self.lock_timeout_s):
            raise WarehouseError(f"{self.path}: another thread of this process wrote for {self.lock_timeout_s} s")
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            connection = self._open(deadline)
            try:
                yield connection
            finally:
                connection.close()
        finally:
            lock.release()

    def _open(self, deadline: float) -> duckdb.DuckDBPyConnection:
        while True:
            try:
                return duckdb.connect(self.path)
            except duckdb.IOException as exc:
                if "lock" not in str(exc).lower():
                    raise WarehouseError(f"cannot open {self.path}: {exc}") from exc
                if time.monotonic() >= deadline:
                    raise WarehouseError(
                        f"cannot write {self.path}: another process held it for {self.lock_timeout_s} s ({exc}). "
                        "Remedy: close that process, or raise lock_timeout_s"
                    ) from exc
                time.sleep(0.1)
            except duckdb.Error as exc:
                raise WarehouseError(f"cannot open {self.path}: {exc}") from exc


def _count(connection: duckdb.DuckDBPyConnection, statement: str, partition: str) -> int:
    # fetchall, not fetchone: DuckDB runs a statement to its end only when its whole result is fetched.
    return connection.execute(statement, [partition]).fetchall()[0][0]


def _types(connection: duckdb.DuckDBPyConnection, schema: pa.Schema) -> dict[str, str]:
    """The DuckDB type of each column of ``schema``, as DuckDB itself spells it."""
    connection.register(_INCOMING, schema.empty_table())
    try:
        return {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {_INCOMING}").fetchall()}
    finally:
        connection.unregister(_INCOMING)
