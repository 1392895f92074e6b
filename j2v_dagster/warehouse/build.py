"""A warehouse from plain values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from j2v_dagster.warehouse.base import Warehouse
from j2v_dagster.warehouse.duckdb import DuckDBWarehouse
from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse

KINDS: dict[str, Callable[..., Warehouse]] = {"duckdb": DuckDBWarehouse, "iceberg": IcebergWarehouse}


def build_warehouse(config: Warehouse | str | os.PathLike[str] | Mapping[str, Any]) -> Warehouse:
    """A warehouse from plain values: the path of a DuckDB file, or a mapping of ``kind`` and the warehouse's options.

    Raises:
        ValueError: an unknown kind, or options that cannot be meant.
        TypeError: an unknown option.
    """
    if isinstance(config, (str, os.PathLike)):
        return DuckDBWarehouse(config)
    if not isinstance(config, Mapping):
        return config
    options = dict(config)
    kind = options.pop("kind", None)
    if kind in KINDS:
        return KINDS[kind](**options)
    kinds = ", ".join(f"kind: {one}" for one in KINDS)
    # The options stay out of the message: they may hold a catalog's credentials.
    raise ValueError(f"warehouse of kind {kind!r}: expected a DuckDB path, or a mapping with one of {kinds}")
