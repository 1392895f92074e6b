"""Data files are of bounded size, and none is left where a load fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from iceberg_tables import data_files, ids, look

from j2v_dagster.warehouse.base import WarehouseError
from j2v_dagster.warehouse.contract import P20, broken, load, rows
from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse


def test_a_reader_that_fails_halfway_changes_nothing_and_leaves_no_file(warehouse: IcebergWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    before = data_files(warehouse)
    warehouse.file_bytes = 1  # a file a batch, so that one is whole and one is not begun

    with pytest.raises(WarehouseError, match=r"(?s)page checksum.*Nothing was changed"):
        load(warehouse, broken(OSError("rank-1.parquet: page checksum"), "b", "c"), 3)
    assert ids(warehouse) == [(P20, "a")]
    assert data_files(warehouse) == before


def test_rows_are_streamed_into_files_of_bounded_size(tmp_path: Path) -> None:
    warehouse = IcebergWarehouse(tmp_path / "w", file_bytes=2 * 2**20)
    schema = pa.schema([("x", pa.int64())])
    floor = pa.total_allocated_bytes()
    peak = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal peak
        for number in range(48):
            peak = max(peak, pa.total_allocated_bytes() - floor)
            yield pa.RecordBatch.from_arrays([pa.array(range(number * 2**17, (number + 1) * 2**17))], schema=schema)

    load(warehouse, batches(), 48 * 2**17, schema=schema)  # 48 MiB, and as much again for the partition column
    assert len(data_files(warehouse)) > 10
    assert peak < 24 * 2**20
    found = look(warehouse, lambda table: table.scan(row_filter="x == 3000000").to_arrow())
    assert found["x"].to_pylist() == [3_000_000]
