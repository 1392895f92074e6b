"""json2vec: models over nested records, and batch inference that proves it lost no row.

Whatever needs torch is loaded on first use (PEP 562), so that ``import json2vec`` stays light.
"""

from __future__ import annotations

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

_LAZY = {
    "Category": "json2vec.fields.category",
    "DateParts": "json2vec.fields.dateparts",
    "Entity": "json2vec.fields.entity",
    "Number": "json2vec.fields.number",
    "Set": "json2vec.fields.set",
    "Text": "json2vec.fields.text",
    "Vector": "json2vec.fields.vector",
    "FieldType": "json2vec.fields.registry",
    "register": "json2vec.fields.registry",
    "Model": "json2vec.model.model",
    "Predictions": "json2vec.model.predictions",
    "PolarsDataModule": "json2vec.data.polars",
    "StreamingDataModule": "json2vec.data.streaming",
    "Writer": "json2vec.rank_files.writer",
    "read_predictions": "json2vec.rank_files.reader",
    "verify_predictions": "json2vec.verify.verify",
    "commit_predictions": "json2vec.rank_files.commit",
    "preprocess": "json2vec.processors",
    "postprocess": "json2vec.processors",
    "PredictJob": "json2vec.predict.job",
    "Deployment": "json2vec.serving.deployment",
}

if TYPE_CHECKING:
    from json2vec.data.polars import PolarsDataModule
    from json2vec.data.streaming import StreamingDataModule
    from json2vec.fields.category import Category
    from json2vec.fields.dateparts import DateParts
    from json2vec.fields.entity import Entity
    from json2vec.fields.number import Number
    from json2vec.fields.registry import FieldType, register
    from json2vec.fields.set import Set
    from json2vec.fields.text import Text
    from json2vec.fields.vector import Vector
    from json2vec.model.model import Model
    from json2vec.model.predictions import Predictions
    from json2vec.predict.job import PredictJob
    from json2vec.processors import postprocess, preprocess
    from json2vec.rank_files.commit import commit_predictions
    from json2vec.rank_files.reader import read_predictions
    from json2vec.rank_files.writer import Writer
    from json2vec.serving.deployment import Deployment
    from json2vec.verify.verify import verify_predictions

__all__ = [
    "MASK_LITERAL",
    "Address",
    "AlignmentError",
    "Array",
    "AttentionMode",
    "Category",
    "CheckpointError",
    "DateParts",
    "Deployment",
    "EncodeError",
    "Entity",
    "FieldType",
    "IncompletePredictions",
    "Json2VecError",
    "Leaf",
    "Mask",
    "Metric",
    "Model",
    "Number",
    "Overflow",
    "PolarsDataModule",
    "PredictJob",
    "Predictions",
    "ProcessorError",
    "ReadError",
    "Schema",
    "SchemaError",
    "Set",
    "ShardingStrategy",
    "SnapshotChanged",
    "StoreError",
    "Strata",
    "StreamingDataModule",
    "Suffix",
    "TensorKey",
    "Text",
    "Tokens",
    "Vector",
    "VerificationFailed",
    "Writer",
    "commit_predictions",
    "helpers",
    "postprocess",
    "predicate",
    "preprocess",
    "read_predictions",
    "register",
    "verify_predictions",
    "where",
]


def _warn_of_namesake() -> None:
    """PyPI json2vec provides a package of the same name: one of the two overwrites files of the other."""
    import warnings
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("json2vec")
    except PackageNotFoundError:
        return
    warnings.warn(
        f"PyPI json2vec {found} is installed beside json2vec-dagster; both provide the package `json2vec`, and this is "
        f"json2vec-dagster's, in {__path__[0]}. Remedy: use two environments, or pip uninstall json2vec and install "
        "json2vec-dagster again",
        UserWarning,
        stacklevel=3,
    )


_warn_of_namesake()


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'json2vec' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
