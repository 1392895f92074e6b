"""The warehouse of docs/warehouses.md: a kind of another package, held to the contract."""

from __future__ import annotations

from pathlib import Path

import documented  # type: ignore[import-not-found]
import pytest

TestParquetWarehouse = documented.module("warehouses.md", 1, "test_my_warehouse").TestParquetWarehouse


@pytest.fixture(autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """``my_warehouse.py``, as the page has it, where imports find it."""
    folder: Path = tmp_path_factory.mktemp("packages")
    (folder / "my_warehouse.py").write_text(documented.blocks("warehouses.md")[0])
    monkeypatch.syspath_prepend(str(folder))
