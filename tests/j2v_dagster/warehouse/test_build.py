"""A warehouse comes from plain values."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from j2v_dagster.warehouse.build import build_warehouse
from j2v_dagster.warehouse.duckdb import DuckDBWarehouse


def test_a_warehouse_comes_from_plain_values(tmp_path: Path) -> None:
    built = build_warehouse({"kind": "duckdb", "path": str(tmp_path / "x"), "schema": "s"})
    assert isinstance(built, DuckDBWarehouse)
    assert built.uri("t") == f"duckdb://{tmp_path / 'x'}/s/t"
    assert build_warehouse(built) is built
    with pytest.raises(ValueError, match="kind: duckdb"):
        build_warehouse({"kind": "oracle"})
    assert os.fspath(build_warehouse(str(tmp_path / "y")).path) == str(tmp_path / "y")  # type: ignore[attr-defined]
