"""Checkpoints: tensors and plain values, nothing that could run.

A checkpoint is a dictionary that ``torch.load(weights_only=True)`` accepts:

    format           1
    schema           plain values of `Schema.to_dict`
    vocabularies     {address: [label, ...]}
    field_types      {name: import path of its options class}
    batch_size       rows
    preprocessor     fingerprint of the training preprocessor, or None
    optimizer        import path and plain arguments of a factory ({path: "module:name", kwargs: {...}}), or None
    scheduler        likewise
    outside          {address: digest} of what a field reads beside its tensors, such as a language model
    profile          plain values of `json2vec.profile.Profile`: what the model was trained on, or None
    state_dict       tensors

Lightning writes the same keys into its own checkpoints.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import safetensors
import safetensors.torch
import torch

from json2vec.address import Address
from json2vec.errors import CheckpointError, SchemaError
from json2vec.factories import Factory, as_factory
from json2vec.fields.registry import field_type
from json2vec.fields.vocabulary import Vocabulary
from json2vec.profile import profile_of
from json2vec.schema import LEAF_TYPES, Schema

if TYPE_CHECKING:
    from json2vec.model import Model

M = TypeVar("M", bound="Model")

FORMAT = 1


def describe(model: Model) -> dict[str, Any]:
    """Everything but the tensors."""
    types = {leaf.type: field_type(leaf).options for leaf in model.schema.leaves.values()}
    return {
        "format": FORMAT,
        "schema": model.schema.to_dict(),
        "vocabularies": {str(address): list(vocabulary.labels) for address, vocabulary in model.vocabularies.items()},
        "field_types": {name: f"{options.__module__}:{options.__qualname__}" for name, options in types.items()},
        "batch_size": model.batch_size,
        "preprocessor": model.preprocessor_fingerprint,
        "optimizer": _plain(model.optimizer),
        "scheduler": _plain(model.scheduler),
        "outside": model.outside(),
        "profile": None if model.profile is None else model.profile.to_plain(),
    }


def save(path: str | os.PathLike[str], values: dict[str, Any]) -> Path:
    """Write a checkpoint beside its final name, sync it and rename it."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save(values, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint without running anything in it.

    Raises:
        CheckpointError: no file, a truncated or foreign one, or one that holds more than tensors and plain values.
    """
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as exc:
        raise CheckpointError(f"checkpoint {path} does not exist. Remedy: check the path") from exc
    except pickle.UnpicklingError as exc:
        raise CheckpointError(
            f"checkpoint {path} holds more than tensors and plain values, or is no checkpoint; it was not loaded, and "
            f"nothing in it was run. Expected: a file written by Model.save or by Lightning: {_first_line(exc)}"
        ) from exc
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError) as exc:
        raise CheckpointError(
            f"checkpoint {path} cannot be read; expected a whole file written by Model.save or by Lightning, "
            f"found a truncated or foreign one ({os.path.getsize(path)} bytes): {_first_line(exc)}"
        ) from exc
    needed = ("schema", "vocabularies", "state_dict")
    if not isinstance(values, dict) or any(key not in values for key in needed):
        found = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(
            f"checkpoint {path} is not one of json2vec: expected the keys {', '.join(needed)}, found {found}. "
            "Remedy: a checkpoint of PyPI json2vec is brought over with the export script and Model.from_exported"
        )
    if values.get("format", FORMAT) != FORMAT:
        raise CheckpointError(f"checkpoint {path} has format {values['format']!r}; this version reads {FORMAT}")
    return values


def restore(cls: type[M], values: dict[str, Any], path: Any, trusted_modules: Sequence[str]) -> M:
    """Build the model that a checkpoint describes and load its tensors."""
    _import_field_types(values.get("field_types", {}), trusted_modules, path)
    schema = _schema(values, path)
    made = {
        name: None if values.get(name) is None else Factory.from_plain(values[name], trusted_modules)
        for name in ("optimizer", "scheduler")
    }
    model = cls(schema, batch_size=values.get("batch_size", 1), **made)
    model.preprocessor_fingerprint = values.get("preprocessor")
    restore_learned(model, values)
    _load_tensors(model, values["state_dict"], path)
    _compare_outside(model, values.get("outside") or {}, path)
    return model.eval()


def _plain(factory: Any) -> dict[str, Any] | None:
    found = as_factory(factory)
    return None if found is None else found.to_plain()


def _compare_outside(model: Model, digests: dict[str, str], path: Any) -> None:
    for address, found in model.outside().items():
        if digests.get(address, found) != found:
            raise CheckpointError(
                f"{address}: checkpoint {path} was trained with another language model than this one: "
                f"SHA-256 {digests[address][:12]}, found {found[:12]}. Remedy: provide the same weights; pin revision="
            )


def restore_learned(model: Model, values: dict[str, Any]) -> None:
    """Give the model the vocabularies and the profile of a checkpoint's values."""
    restore_vocabularies(model, values)
    model.profile = profile_of(values)


def described(
    values: dict[str, Any], *, trusted_modules: Sequence[str] = (), where: Any = "given"
) -> tuple[Schema, dict[Address, Vocabulary]]:
    """Schema and vocabularies of a checkpoint's values, without building the model.

    Raises:
        CheckpointError: a field type that is neither registered nor trusted, or a schema that is not valid.
    """
    import json2vec.fields  # noqa: F401 - registers the field types

    _import_field_types(values.get("field_types", {}), trusted_modules, where)
    schema = _schema(values, where)
    vocabularies = {}
    for address, leaf in schema.leaves.items():
        capacity = field_type(leaf).capacity
        if capacity is not None:
            vocabularies[address] = Vocabulary(capacity(leaf), values["vocabularies"].get(address, ()))
    return schema, vocabularies


def _schema(values: dict[str, Any], path: Any) -> Schema:
    try:
        return Schema.from_dict(values["schema"])
    except (SchemaError, TypeError) as exc:
        raise CheckpointError(f"checkpoint {path} holds a schema that is not valid: {exc}") from exc


def restore_vocabularies(model: Model, values: dict[str, Any]) -> None:
    for address, labels in values["vocabularies"].items():
        known = model.vocabularies.get(Address(address))
        if known is not None:
            model.vocabularies[Address(address)] = Vocabulary(known.capacity, labels)


def _import_field_types(paths: dict[str, str], trusted_modules: Sequence[str], where: Any) -> None:
    """Import the modules of custom field types, as far as the caller trusts them; importing registers them."""
    for name, path in paths.items():
        module = path.partition(":")[0]
        if name in LEAF_TYPES:
            continue
        if module not in trusted_modules:
            raise CheckpointError(
                f"checkpoint {where} needs the field type {name!r} from module {module!r}, which is neither registered "
                f"nor trusted. Remedy: import it first, or Model.load(..., trusted_modules=[{module!r}])"
            )
        importlib.import_module(module)
        if name not in LEAF_TYPES:
            raise CheckpointError(f"module {module!r} was imported for the field type {name!r} but did not register it")


def _load_tensors(model: Model, tensors: dict[str, torch.Tensor], path: Any) -> None:
    own = model.state_dict()
    missing = sorted(set(own) - set(tensors))
    clashing = sorted(
        name for name in set(own) & set(tensors) if tuple(own[name].shape) != tuple(tensors[name].shape)
    )  # fmt: skip
    if missing or clashing:
        lines = [f"{name}: missing" for name in missing[:3]] + [
            f"{name}: expected {tuple(own[name].shape)}, found {tuple(tensors[name].shape)}" for name in clashing[:3]
        ]
        raise CheckpointError(f"the tensors of {path} do not fit its schema ({'; '.join(lines)})")
    model.load_state_dict({name: tensors[name] for name in own})


def from_exported(cls: type[M], folder: str | os.PathLike[str], batch_size: int) -> M:
    """See `Model.from_exported`."""
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
    model = cls(schema, batch_size=batch_size)
    own = model.state_dict()
    # Buffers that only training needs may be absent, and what the peer stores beside the network is not ours.
    training_only = {name for name in own if name.endswith(".counts")}
    _load_tensors(model, {name: own[name] for name in training_only} | tensors, base)
    prefix, suffix = "nodes.", ".embedder.vocab.vocabulary"
    restore_vocabularies(
        model, {"vocabularies": {key.removeprefix(prefix).removesuffix(suffix): names for key, names in labels.items()}}
    )
    return model.eval()


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


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
