"""Helpers: `infer_schema` proposes fields for data, `optimizers` makes optimizers that a checkpoint can keep."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from json2vec.helpers import optimizers

if TYPE_CHECKING:
    from json2vec.helpers.inference import Decision, InferenceConfig, infer_schema

__all__ = ["Decision", "InferenceConfig", "infer_schema", "optimizers"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'json2vec.helpers' has no attribute {name!r}")
    return getattr(importlib.import_module("json2vec.helpers.inference"), name)
