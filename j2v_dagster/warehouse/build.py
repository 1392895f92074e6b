"""A warehouse from plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from j2v_dagster.warehouse.base import Warehouse
from j2v_dagster.warehouse.duckdb import DuckDBWarehouse


def build_warehouse(config: Warehouse | str | os.PathLike[str] | Mapping[str, Any]) -> Warehouse:
    """A warehouse from plain values: the path of a DuckDB file, or a mapping of ``kind`` and the warehouse's options.

    Raises:
        ValueError: an unknown kind.
        TypeError: an unknown option.
    """
    if isinstance(config, (str, os.PathLike)):
        return DuckDBWarehouse(config)
    if not isinstance(config, Mapping):
        return config
    options = dict(config)
    if options.pop("kind", None) == "duckdb":
        return DuckDBWarehouse(**options)
    raise ValueError(f"warehouse {dict(config)!r}: expected a DuckDB path or a mapping with kind: duckdb and path")
