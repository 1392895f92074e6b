"""Dagster integration of json2vec: batch inference as partitioned, checked assets that end in a warehouse table.

Everything is loaded on first use, so that ``import j2v_dagster`` costs nothing and the processes which supervise ranks
never import Dagster. Nothing here imports torch before a step needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from j2v_dagster.component import Json2VecPredictions
    from j2v_dagster.definitions import pipelines_from_yaml
    from j2v_dagster.launchers.base import Launcher
    from j2v_dagster.launchers.torchrun import TorchrunLauncher
    from j2v_dagster.pipeline import build_prediction_pipeline
    from j2v_dagster.shards.partitions import partition_folder
    from j2v_dagster.translator import PredictionTranslator
    from j2v_dagster.warehouse.base import Warehouse
    from j2v_dagster.warehouse.duckdb import DuckDBWarehouse
    from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse

__all__ = [
    "DuckDBWarehouse",
    "IcebergWarehouse",
    "Json2VecPredictions",
    "Launcher",
    "PredictionTranslator",
    "TorchrunLauncher",
    "Warehouse",
    "build_prediction_pipeline",
    "partition_folder",
    "pipelines_from_yaml",
]

_HOMES = {
    "DuckDBWarehouse": "warehouse.duckdb",
    "IcebergWarehouse": "warehouse.iceberg.warehouse",
    "Json2VecPredictions": "component",
    "Launcher": "launchers.base",
    "PredictionTranslator": "translator",
    "TorchrunLauncher": "launchers.torchrun",
    "Warehouse": "warehouse.base",
    "build_prediction_pipeline": "pipeline",
    "partition_folder": "shards.partitions",
    "pipelines_from_yaml": "definitions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
