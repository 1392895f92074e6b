"""An Iceberg warehouse on disk, and what its tables, branches and folders hold."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse


def look(warehouse: IcebergWarehouse, see: Callable[[Table], Any], table: str = "predictions") -> Any:
    """What a reader with a catalog of its own sees."""
    path = warehouse.path
    with closing(SqlCatalog("default", uri=f"sqlite:///{path}/catalog.db", warehouse=str(path))) as catalog:
        return see(catalog.load_table((*warehouse.namespace.split("."), table)))


def ids(warehouse: IcebergWarehouse) -> list[tuple[str, str]]:
    """Partition and id of every row of main."""
    found = look(warehouse, lambda table: table.scan(selected_fields=("partition", "id")).to_arrow().to_pylist())
    return sorted((row["partition"], row["id"]) for row in found)


def branches(warehouse: IcebergWarehouse) -> list[str]:
    return sorted(look(warehouse, lambda table: list(table.refs())))


def data_files(warehouse: IcebergWarehouse) -> set[str]:
    """Data files on disk."""
    return {str(path) for path in Path(str(warehouse.path)).rglob("*.parquet")}


def known_files(warehouse: IcebergWarehouse) -> set[str]:
    """Data files that some snapshot of the table knows."""

    def see(table: Table) -> set[str]:
        scans = [table.scan(snapshot_id=one.snapshot_id) for one in table.snapshots()]
        return {task.file.file_path for scan in scans for task in scan.plan_files()}

    return look(warehouse, see)


@pytest.fixture
def warehouse(tmp_path: Path) -> IcebergWarehouse:
    return IcebergWarehouse(tmp_path / "new folder" / "iceberg")
