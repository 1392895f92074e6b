"""json2vec: models over nested records, and batch inference that proves it lost no row.

Whatever needs torch is loaded on first use (PEP 562), so that ``import json2vec`` stays light. One line exports such a
name: its import under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import importlib
from typing import TYPE_CHECKING, Any

from json2vec import helpers
from json2vec.address import Address
from json2vec.enums import (
    MASK_LITERAL,
    AttentionMode,
    Metric,
    Overflow,
    ShardingStrategy,
    Strata,
    Suffix,
    TensorKey,
    Tokens,
)
from json2vec.errors import (
    AlignmentError,
    CheckpointError,
    ContractBroken,
    EncodeError,
    IncompletePredictions,
    Json2VecError,
    ProcessorError,
    ReadError,
    SchemaError,
    SnapshotChanged,
    StoreError,
    VerificationFailed,
)
from json2vec.schema.nodes import Array, Leaf, Mask
from json2vec.schema.schema import Schema
from json2vec.schema.selectors import predicate, where

if TYPE_CHECKING:
    # The one list of what is loaded on first use: type checkers read it, and so does `_lazy`.
    from json2vec.data.polars import PolarsDataModule as PolarsDataModule
    from json2vec.data.streaming import StreamingDataModule as StreamingDataModule
    from json2vec.fields.category import Category as Category
    from json2vec.fields.dateparts import DateParts as DateParts
    from json2vec.fields.entity import Entity as Entity
    from json2vec.fields.number import Number as Number
    from json2vec.fields.registry import FieldType as FieldType
    from json2vec.fields.registry import register as register
    from json2vec.fields.set import Set as Set
    from json2vec.fields.text import Text as Text
    from json2vec.fields.vector import Vector as Vector
    from json2vec.model.model import Model as Model
    from json2vec.model.predictions import Predictions as Predictions
    from json2vec.predict.job import PredictJob as PredictJob
    from json2vec.processors import postprocess as postprocess
    from json2vec.processors import preprocess as preprocess
    from json2vec.rank_files.commit import commit_predictions as commit_predictions
    from json2vec.rank_files.reader import read_predictions as read_predictions
    from json2vec.rank_files.writer import Writer as Writer
    from json2vec.reading.tables import snapshot_table as snapshot_table
    from json2vec.serving.deployment import Deployment as Deployment
    from json2vec.verify.verify import verify_predictions as verify_predictions

__all__ = [
    "MASK_LITERAL",
    "Address",
    "AlignmentError",
    "Array",
    "AttentionMode",
    "CheckpointError",
    "ContractBroken",
    "EncodeError",
    "IncompletePredictions",
    "Json2VecError",
    "Leaf",
    "Mask",
    "Metric",
    "Overflow",
    "ProcessorError",
    "ReadError",
    "Schema",
    "SchemaError",
    "ShardingStrategy",
    "SnapshotChanged",
    "StoreError",
    "Strata",
    "Suffix",
    "TensorKey",
    "Tokens",
    "VerificationFailed",
    "helpers",
    "predicate",
    "where",
]


def _lazy() -> dict[str, str]:
    """The module of every name that is imported under TYPE_CHECKING above, read from this file without importing them.

    Raises:
        ImportError: this file was installed without its source.
    """
    source = __spec__.loader.get_source(__name__)  # type: ignore[union-attr]
    if source is None:
        raise ImportError(f"{__file__} is read for what json2vec exports, but has no source. Remedy: install .py files")
    tests = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    imports = next(node.body for node in tests if ast.unparse(node.test) == "TYPE_CHECKING")
    return {name.name: str(node.module) for node in imports if isinstance(node, ast.ImportFrom) for name in node.names}


LOADED_ON_USE = _lazy()
# Constants, classes, functions. Type checkers know the names by their imports.
__all__ = sorted(  # pyright: ignore[reportUnsupportedDunderAll]
    [*__all__, *LOADED_ON_USE], key=lambda name: (not name.isupper(), name[0].islower(), name)
)


def _warn_of_namesake() -> None:
    """PyPI json2vec provides a package of the same name: one of the two overwrites files of the other."""
    import warnings
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("json2vec")
    except PackageNotFoundError:
        return
    warnings.warn(
        f"PyPI json2vec {installed} is installed beside json2vec-dagster; both provide the package `json2vec`, "
        f"and this is json2vec-dagster's, in {__path__[0]}. Remedy: use two environments, or pip uninstall json2vec "
        "and install json2vec-dagster again",
        UserWarning,
        stacklevel=3,
    )


_warn_of_namesake()


def __getattr__(name: str) -> Any:
    if name not in LOADED_ON_USE:
        raise AttributeError(f"module 'json2vec' has no attribute {name!r}")
    value = getattr(importlib.import_module(LOADED_ON_USE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
