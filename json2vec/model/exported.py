"""Models that PyPI json2vec exported: its words for a schema to ours, its tensors into our model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from json2vec.errors import CheckpointError
from json2vec.schema.schema import Schema


@dataclass(frozen=True)
class Exported:
    """What the export script wrote: a schema, tensors by the names of our own, and labels by address."""

    schema: Schema
    tensors: dict[str, torch.Tensor]
    vocabularies: dict[str, list]


def read_exported(folder: str | os.PathLike[str]) -> Exported:
    """Read the three files of an exported model.

    Raises:
        CheckpointError: a file is missing or cannot be read, or the model has an option that ours lacks.
    """
    base = Path(folder)
    try:
        described = json.loads((base / "schema.json").read_text())
        labels = json.loads((base / "vocabularies.json").read_text())
        tensors = safetensors.torch.load_file(base / "weights.safetensors")
    except (OSError, json.JSONDecodeError, safetensors.SafetensorError) as exc:
        raise CheckpointError(
            f"exported model {base} cannot be read; expected schema.json, vocabularies.json, weights.safetensors: {exc}"
        ) from exc
    schema = Schema(root=_translate(described["fields"]), d_model=described["d_model"])
    prefix, suffix = "nodes.", ".embedder.vocab.vocabulary"
    vocabularies = {key.removeprefix(prefix).removesuffix(suffix): names for key, names in labels.items()}
    return Exported(schema, tensors, vocabularies)


def training_only(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The buffers of a model that only training needs. An export may lack them; then they stay as they are."""
    return {name: tensor for name, tensor in tensors.items() if name.endswith(".counts")}


_RENAMED = {"length": "max_length", "size": "max_vocab_size", "capacity": "max_vocab_size", "model": "model_name"}


def _translate(node: dict[str, Any]) -> dict[str, Any]:
    """A node in the words of PyPI json2vec 0.4.9 or 0.4.11 to ours."""
    node = dict(node)
    if node["type"] in ("branch", "array"):
        options = {_RENAMED.get(key, key): value for key, value in node.items()}
        masks = [_translate_mask(mask) for mask in options.pop("masks", None) or []]
        return options | {"type": "array", "masks": masks, "fields": [_translate(child) for child in node["fields"]]}
    if node.pop("nullable", True) is False:
        raise CheckpointError(
            f"field {node['name']!r} was exported with nullable=False; nulls are always encoded here. "
            "Remedy: export it with nullable=True"
        )
    options = {_RENAMED.get(key, key): value for key, value in node.items() if key != "target"}
    return options | {"units": "raw"} if node["type"] == "number" else options


def _translate_mask(mask: dict[str, Any]) -> dict[str, Any]:
    mask = {("array" if key == "branch" else key): value for key, value in mask.items()}
    return mask | {"exclude": [name for name in mask.get("exclude") or [] if isinstance(name, str)]}
