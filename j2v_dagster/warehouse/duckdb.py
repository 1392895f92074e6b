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
from j2v_dagster.warehouse.duckdb_columns import Column, compared, keeps_values, table_columns
from j2v_dagster.warehouse.fence import check_newer, dump_note, parse_note
from j2v_dagster.warehouse.names import check_name
from j2v_dagster.warehouse.refusals import check_rows, describe_drift

NOTES = "_j2v_loads"
"""Table beside the others, with one row for each partition of each: what it shows (`j2v_dagster.warehouse.fence`)."""
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
        """See `j2v_dagster.warehouse.base.Warehouse.replace_partition`; the note stands in the table `NOTES`."""
        if table.casefold() == NOTES:
            raise WarehouseError(f"table {self.uri(table)} is where this warehouse notes its loads. Remedy: choose "
                                 "another name for the table")  # fmt: skip
        name = f"{quote(self.schema)}.{quote(table)}"
        column = quote(partition_column)
        with self._connect() as connection:
            try:
                schema = storable(schema)
                expected = {**_types(connection, schema), partition_column: "VARCHAR"}
                connection.execute("BEGIN")
                created = self._prepare(connection, table, expected)
                self._fence(connection, table, partition, note, created=created)
                replaced = _count(connection, f"DELETE FROM {name} WHERE {column} = ?", partition)
                stream = (batch if batch.schema == schema else batch.cast(schema) for batch in batches)
                connection.register(_INCOMING, pa.RecordBatchReader.from_batches(schema, stream))
                _count(
                    connection,
                    f"INSERT INTO {name} BY NAME SELECT *, ?::VARCHAR AS {column} FROM {_INCOMING}",
                    partition,
                )
                connection.unregister(_INCOMING)
                arrived = _count(connection, f"SELECT count(*) FROM {name} WHERE {column} = ?", partition)
                check_rows(f"table {self.uri(table)}, partition {partition!r}", arrived, rows)
                connection.execute("COMMIT")
            except duckdb.Error as exc:
                raise WarehouseError(
                    f"table {self.uri(table)}, partition {partition!r}: {exc}. Nothing was changed"
                ) from exc
            # Leaving the connection without COMMIT rolls back.
            return Loaded(rows=arrived, replaced=replaced, created=created)

    def _prepare(self, connection: duckdb.DuckDBPyConnection, table: str, expected: dict[str, str]) -> bool:
        """Make the table, or compare its columns with those to load; whether it was made."""
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(self.schema)}")
        columns = table_columns(connection, self.schema, table)
        if not columns:
            made = ", ".join(f"{quote(name)} {column_type}" for name, column_type in expected.items())
            connection.execute(f"CREATE TABLE {quote(self.schema)}.{quote(table)} ({made})")
            return True
        if (existing := compared(expected, columns)) != expected:
            raise SchemaDrift(self._drift(connection, table, expected, existing, columns))
        return False

    def _fence(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: str,
        partition: str,
        note: Mapping[str, str] | None,
        *,
        created: bool,
    ) -> None:
        """Compare ``note`` with what the partition shows and put it in its place, all in the transaction of the load.

        Raises:
            StaleLoad: the partition shows what is newer.
        """
        notes = f"{quote(self.schema)}.{quote(NOTES)}"
        columns = "(table_name VARCHAR, partition_key VARCHAR, note VARCHAR)"
        there = connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? "
            "AND table_name = ?",
            [self.schema, NOTES],
        ).fetchall()
        if not there and not note:
            return
        connection.execute(f"CREATE TABLE IF NOT EXISTS {notes} {columns}")
        # DuckDB takes names that differ in case for one table. A table made anew shows nothing yet.
        ours = "lower(table_name) = lower(?)" + ("" if created else " AND partition_key = ?")
        key = [table] if created else [table, partition]
        found = connection.execute(f"SELECT note FROM {notes} WHERE {ours}", key).fetchall()
        if found and not created:
            check_newer(f"table {self.uri(table)}, partition {partition!r}", parse_note(found[0][0]), note)
        connection.execute(f"DELETE FROM {notes} WHERE {ours}", key).fetchall()
        if note:
            connection.execute(f"INSERT INTO {notes} VALUES (?, ?, ?)", [table, partition, dump_note(note)]).fetchall()

    def _drift(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: str,
        expected: dict[str, str],
        existing: dict[str, str],
        columns: list[Column],
    ) -> str:
        alter = f"ALTER TABLE {quote(self.schema)}.{quote(table)}"
        nullable = {column.name: column.nullable for column in columns}

        def change(column: str, new: str) -> str:
            if not keeps_values(connection, existing[column], new):
                return f"give column {column!r} another name in the mapping"
            return f"run {alter} ALTER COLUMN {quote(column)} TYPE {new};"

        def extra(column: str) -> str:
            if not nullable[column]:
                return f"give the table's column {column!r}, which is NOT NULL, a default: loads then leave it alone"
            return f"run {alter} ALTER COLUMN {quote(column)} SET DEFAULT NULL; loads then leave it alone"

        def add(column: str, new: str) -> str:
            return f"run {alter} ADD COLUMN {quote(column)} {new};"

        return describe_drift(self.uri(table), expected, existing, add=add, extra=extra, change=change)

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
    """The DuckDB type of each column of ``schema``, as DuckDB itself spells it.

    Raises:
        WarehouseError: a type that DuckDB has not; names the column.
    """
    kinds = {}
    for field in schema:
        try:
            connection.register(_INCOMING, pa.schema([field]).empty_table())
            kinds[field.name] = connection.execute(f"DESCRIBE SELECT * FROM {_INCOMING}").fetchall()[0][1]
        except duckdb.NotImplementedException as exc:
            raise WarehouseError(
                f"column {field.name!r} is {field.type}, which DuckDB does not have: {exc}. Nothing was changed. "
                "Remedy: leave the column out, or cast it in the shards"
            ) from exc
        finally:
            connection.unregister(_INCOMING)
    return kinds


def storable(schema: pa.Schema) -> pa.Schema:
    """``schema`` in types that DuckDB has; every value of the old type has the same meaning in the new one.

    Raises:
        WarehouseError: a type whose values would lose something; names the column.
    """
    return pa.schema([field.with_type(_storable(field.type, field.name)) for field in schema])


def _storable(arrow_type: pa.DataType, where: str) -> pa.DataType:
    def inner(field: pa.Field, name: str) -> pa.Field:
        return field.with_type(_storable(field.type, f"{where}.{name}"))

    # Types that hold others keep their fields, so that a type without anything to replace stays equal to itself.
    if pa.types.is_struct(arrow_type):
        return pa.struct([inner(child, child.name) for child in arrow_type])
    if pa.types.is_map(arrow_type):
        key, value = inner(arrow_type.key_field, "key"), inner(arrow_type.item_field, "value")
        return pa.map_(key, value, keys_sorted=arrow_type.keys_sorted)
    if pa.types.is_fixed_size_list(arrow_type):
        return pa.list_(inner(arrow_type.value_field, "element"), arrow_type.list_size)
    if pa.types.is_list(arrow_type):
        return pa.list_(inner(arrow_type.value_field, "element"))
    if pa.types.is_large_list(arrow_type):
        return pa.large_list(inner(arrow_type.value_field, "element"))
    if pa.types.is_float16(arrow_type):
        return pa.float32()
    if pa.types.is_duration(arrow_type) and arrow_type.unit == "ns":
        raise WarehouseError(
            f"column {where!r} is {arrow_type}, of which DuckDB would keep microseconds only. Nothing was changed. "
            "Remedy: leave the column out, or cast it in the shards"
        )
    return arrow_type
