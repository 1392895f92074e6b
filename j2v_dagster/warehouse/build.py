"""A warehouse from plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from j2v_dagster.warehouse.base import Warehouse
from json2vec.storage.kinds import Kinds

WAREHOUSES = Kinds(
    "warehouse",
    Warehouse,
    {
        "duckdb": "j2v_dagster.warehouse.duckdb:DuckDBWarehouse",
        "iceberg": "j2v_dagster.warehouse.iceberg.warehouse:IcebergWarehouse",
    },
)
"""Every kind of warehouse that comes with this package: one line each."""


def build_warehouse(config: Warehouse | str | os.PathLike[str] | Mapping[str, Any]) -> Warehouse:
    """A warehouse from plain values.

    Args:
        config: the path of a DuckDB file; or a mapping of ``kind`` (a word of `WAREHOUSES`, or ``module:Class``) and
            the options of that class; or a warehouse, which is returned as it is.

    Raises:
        json2vec.storage.kinds.KindError: no such kind, a class that is no warehouse, or an option it does not take.
        ValueError: options that cannot be meant, by the class's own rules.
    """
    if isinstance(config, (str, os.PathLike)):
        config = {"kind": "duckdb", "path": config}
    if not isinstance(config, Mapping):
        return WAREHOUSES.check(config)
    options = dict(config)
    return WAREHOUSES.build(options.pop("kind", None), options)
