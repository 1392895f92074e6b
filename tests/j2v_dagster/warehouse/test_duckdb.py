"""The DuckDB loader: one transaction, exact rows, schemas compared first, names that are only names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from j2v_dagster.warehouse.base import Loaded, SchemaDrift, WarehouseError
from j2v_dagster.warehouse.build import build_warehouse
from j2v_dagster.warehouse.duckdb import DuckDBWarehouse

SCHEMA = pa.schema(
    [("id", pa.string()), ("score", pa.float32()), ("day", pa.struct([("value", pa.string()), ("p", pa.float32())]))]
)


def rows(*ids: str) -> list[pa.RecordBatch]:
    """One batch an id."""
    return [
        pa.RecordBatch.from_pylist([{"id": one, "score": 0.5, "day": {"value": "late", "p": 0.25}}], schema=SCHEMA)
        for one in ids
    ]


def load(
    warehouse: DuckDBWarehouse,
    batches: Iterable[pa.RecordBatch],
    count: int,
    *,
    table: str = "predictions",
    partition: str = "2013-01-20",
    schema: pa.Schema = SCHEMA,
    column: str = "partition",
) -> Loaded:
    return warehouse.replace_partition(
        table=table, partition_column=column, partition=partition, schema=schema, batches=batches, rows=count
    )


def read(path: str, sql: str, *parameters: str) -> list[tuple[object, ...]]:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(sql, list(parameters)).fetchall()


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(tmp_path / "new folder" / "w.duckdb")


def test_a_partition_is_replaced_and_the_others_stay(warehouse: DuckDBWarehouse) -> None:
    assert load(warehouse, rows("a", "b"), 2) == Loaded(rows=2, replaced=0, created=True)
    assert load(warehouse, rows("c"), 1, partition="2013-01-21") == Loaded(rows=1, replaced=0, created=False)
    assert load(warehouse, rows("d"), 1) == Loaded(rows=1, replaced=2, created=False)
    found = read(warehouse.path, 'SELECT id, score, day.value, "partition" FROM predictions ORDER BY id')
    assert found == [("c", 0.5, "late", "2013-01-21"), ("d", 0.5, "late", "2013-01-20")]


def test_an_empty_partition_loads_as_no_rows(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    assert load(warehouse, [], 0) == Loaded(rows=0, replaced=1, created=False)
    assert read(warehouse.path, "SELECT count(*) FROM predictions") == [(0,)]


def test_another_number_of_rows_changes_nothing(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    with pytest.raises(WarehouseError, match=r"'2013-01-20': 2 rows arrived; expected the manifest's 3"):
        load(warehouse, rows("b", "c"), 3)
    assert read(warehouse.path, "SELECT id FROM predictions") == [("a",)]


def test_a_reader_that_fails_halfway_changes_nothing(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, rows("a"), 1)

    def broken() -> Iterator[pa.RecordBatch]:
        yield from rows("b")
        raise OSError("rank-1.parquet: page checksum")

    with pytest.raises(WarehouseError, match=r"(?s)page checksum.*Nothing was changed"):
        load(warehouse, broken(), 2)
    assert read(warehouse.path, "SELECT id FROM predictions") == [("a",)]


@pytest.mark.faults
def test_a_load_killed_between_delete_and_commit_leaves_the_old_rows(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, rows("a", "b"), 2)
    code = """
import os, signal, sys
sys.path[:0] = sys.argv[2].split(":")
import pyarrow as pa
from j2v_dagster.warehouse.duckdb import DuckDBWarehouse
day = pa.struct([("value", pa.string()), ("p", pa.float32())])
schema = pa.schema([("id", pa.string()), ("score", pa.float32()), ("day", day)])
def batches():
    yield pa.RecordBatch.from_pylist([{"id": "new"}], schema=schema)
    print("deleted, inserting", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
DuckDBWarehouse(sys.argv[1]).replace_partition(
    table="predictions", partition_column="partition", partition="2013-01-20", schema=schema, batches=batches(), rows=1)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, warehouse.path, ":".join(sys.path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("deleted"), done.stderr
    assert done.returncode == -signal.SIGKILL
    assert read(warehouse.path, "SELECT id FROM predictions ORDER BY id") == [("a",), ("b",)]
    load(warehouse, rows("c"), 1)
    assert read(warehouse.path, "SELECT id FROM predictions") == [("c",)]


def test_names_and_keys_are_never_sql(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", schema='s"; drop schema main;--')
    table, key, column = 't"; drop table x;--', "o'x'; drop table x;--", 'part"ition'
    schema = pa.schema([('a"b', pa.int64()), ("select", pa.int64())])
    batch = pa.RecordBatch.from_pydict({'a"b': [1], "select": [2]}, schema=schema)
    for _ in range(2):
        load(warehouse, [batch], 1, table=table, partition=key, schema=schema, column=column)
    names = read(warehouse.path, "SELECT schema_name, table_name FROM duckdb_tables()")
    assert names == [('s"; drop schema main;--', table)]
    quoted = '"s""; drop schema main;--"."t""; drop table x;--"'
    assert read(warehouse.path, f"SELECT * FROM {quoted}") == [(1, 2, key)]


def test_a_name_that_cannot_be_is_refused(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(WarehouseError, match="NUL"):
        load(warehouse, rows("a"), 1, table="a\0b")
    with pytest.raises(WarehouseError, match="empty"):
        load(warehouse, rows("a"), 1, table="")


def test_schema_drift_names_every_column_and_changes_nothing(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    # DuckDB itself would drop the extra struct field without a word.
    drifted = pa.schema(
        [
            ("id", pa.int64()),
            ("label", pa.string()),
            ("day", pa.struct([("value", pa.string()), ("p", pa.float32()), ("new", pa.string())])),
        ]
    )
    with pytest.raises(SchemaDrift) as caught:
        load(warehouse, [], 0, schema=drifted)
    message = str(caught.value)
    assert "column 'id' is VARCHAR in the table and BIGINT in the predictions" in message
    assert "column 'label' (VARCHAR) is not in the table" in message
    assert "the table's column 'score' (FLOAT) is not in the mapping" in message
    assert '"new" VARCHAR' in message
    assert 'ALTER TABLE "main"."predictions" ADD COLUMN "label" VARCHAR;' in message
    assert read(warehouse.path, "SELECT id FROM predictions") == [("a",)]


def test_writers_take_turns(warehouse: DuckDBWarehouse) -> None:
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(3):
                load(warehouse, rows(f"id{number}"), 1, partition=f"p{number}")
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert read(warehouse.path, "SELECT count(*) FROM predictions") == [(3,)]


@pytest.mark.faults
def test_a_writer_waits_for_another_process_and_not_for_ever(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, warehouse.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    impatient = DuckDBWarehouse(warehouse.path, lock_timeout_s=0.3)
    with pytest.raises(WarehouseError, match=rf"another process held it for 0\.3 s.*PID {holder.pid}"):
        load(impatient, rows("b"), 1)
    threading.Timer(0.5, holder.stdin.close).start()
    started = time.monotonic()
    assert load(warehouse, rows("c"), 1).rows == 1
    assert time.monotonic() - started > 0.3  # it waited instead of failing
    holder.wait(10)
    holder.stdout.close()


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(WarehouseError, match=r"cannot open .*w\.duckdb"):
        load(DuckDBWarehouse(path), rows("a"), 1)


def test_a_warehouse_comes_from_plain_values(tmp_path: Path) -> None:
    built = build_warehouse({"kind": "duckdb", "path": str(tmp_path / "x"), "schema": "s"})
    assert isinstance(built, DuckDBWarehouse)
    assert built.uri("t") == f"duckdb://{tmp_path / 'x'}/s/t"
    assert build_warehouse(built) is built
    with pytest.raises(ValueError, match="kind: duckdb"):
        build_warehouse({"kind": "oracle"})
    assert os.fspath(build_warehouse(str(tmp_path / "y")).path) == str(tmp_path / "y")  # type: ignore[attr-defined]
