"""The DuckDB loader: the contract of a warehouse, and what is DuckDB's own: locks, SQL names, the words of a drift."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from duckdb_tables import read

from j2v_dagster.warehouse.base import WarehouseError
from j2v_dagster.warehouse.contract import WarehouseContract, load, numbered, rows
from j2v_dagster.warehouse.duckdb import NOTES, DuckDBWarehouse, quote


class TestDuckDBWarehouse(WarehouseContract):
    @pytest.fixture
    def config(self, tmp_path: Path) -> dict[str, Any]:
        path = tmp_path / "new folder" / "w.duckdb"
        return {"kind": "duckdb", "path": str(path), "schema": 's"; drop schema main;--'}

    def read(self, warehouse: DuckDBWarehouse, table: str) -> list[dict[str, Any]]:
        with duckdb.connect(warehouse.path, read_only=True) as connection:
            return connection.sql(f"FROM {quote(warehouse.schema)}.{quote(table)}").to_arrow_table().to_pylist()

    def note(self, warehouse: DuckDBWarehouse, table: str, partition: str) -> dict[str, str]:
        notes = f"{quote(warehouse.schema)}.{quote(NOTES)}"
        ((text,),) = read(
            warehouse.path, f"SELECT note FROM {notes} WHERE table_name = ? AND partition_key = ?", table, partition
        )
        return json.loads(str(text))

    def check_nothing_is_left(self, warehouse: DuckDBWarehouse, table: str) -> None:
        names = read(warehouse.path, "SELECT schema_name, table_name FROM duckdb_tables()")
        assert {(warehouse.schema, table)} <= set(names) <= {(warehouse.schema, table), (warehouse.schema, NOTES)}

    @pytest.mark.faults
    def test_a_load_that_is_killed_changes_nothing(self, warehouse: Any, config: dict[str, Any]) -> None:
        super().test_a_load_that_is_killed_changes_nothing(warehouse, config)

    def test_names_and_keys_are_only_names(self, warehouse: Any, tmp_path: Path) -> None:
        super().test_names_and_keys_are_only_names(warehouse, tmp_path)
        self.check_nothing_is_left(warehouse, '../../t"; drop table x;--')


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


def test_a_duration_that_would_lose_nanoseconds_is_refused(warehouse: DuckDBWarehouse) -> None:
    schema = pa.schema([("id", pa.string()), ("cell", pa.list_(pa.struct([("took", pa.duration("ns"))])))])
    with pytest.raises(WarehouseError, match=r"column 'cell\.element\.took' is duration\[ns\]"):
        load(warehouse, [], 0, schema=schema)


def test_half_floats_are_widened_wherever_they_stand(warehouse: DuckDBWarehouse) -> None:
    half = pa.float16()
    kind = pa.struct([("l", pa.list_(half)), ("m", pa.map_(pa.string(), half)), ("f", pa.list_(half, 2))])
    schema = pa.schema([("x", kind), ("big", pa.large_list(half))])
    values = [{"x": {"l": [0.5, None], "m": [("k", 2.0)], "f": [1.0, 2.0]}, "big": [3.0]}, {"x": None, "big": None}]
    load(warehouse, [pa.RecordBatch.from_pylist(values, schema=schema)], 2, schema=schema)
    with duckdb.connect(warehouse.path) as connection:
        found = connection.sql("SELECT x, big FROM predictions").to_arrow_table()
    assert found.to_pylist() == values
    assert found.schema.field("big").type.value_type == pa.float32()


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(WarehouseError, match=r"cannot open .*w\.duckdb"):
        load(DuckDBWarehouse(path), rows("a"), 1)


def test_a_table_that_was_dropped_and_made_anew_shows_nothing_newer(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, rows("a"), 1, note=numbered(7))
    load(warehouse, rows("b"), 1, partition="another", note=numbered(7))
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("DROP TABLE predictions")
    assert load(warehouse, rows("c"), 1, note=numbered(3)).created
    assert load(warehouse, rows("d"), 1, partition="another", note=numbered(3)).rows == 1


@pytest.mark.parametrize("name", [NOTES, NOTES.upper()])
def test_the_table_of_notes_is_no_table_for_predictions(warehouse: DuckDBWarehouse, name: str) -> None:
    with pytest.raises(WarehouseError, match=r"notes its loads\. Remedy"):
        load(warehouse, rows("a"), 1, table=name)
