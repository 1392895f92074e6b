"""A DuckDB warehouse on disk, and a way to read it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from j2v_dagster.warehouse.duckdb import DuckDBWarehouse


def read(path: str, sql: str, *parameters: str) -> list[tuple[object, ...]]:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(sql, list(parameters)).fetchall()


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(tmp_path / "new folder" / "w.duckdb")
