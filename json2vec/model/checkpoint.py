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
    profile          plain values of `json2vec.profile.profile.Profile`: what the model was trained on, or None
    state_dict       tensors

Lightning writes the same keys into its own checkpoints.
"""

from __future__ import annotations

import importlib
import os
import pickle
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from json2vec.address import Address
from json2vec.errors import CheckpointError, SchemaError
from json2vec.fields.registry import field_type
from json2vec.fields.vocabulary import Vocabulary
from json2vec.model.named_functions import as_factory
from json2vec.schema.nodes import LEAF_TYPES
from json2vec.schema.schema import Schema

FORMAT = 1


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
        held = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(
            f"checkpoint {path} is not one of json2vec: expected the keys {', '.join(needed)}, found {held}. "
            "Remedy: a checkpoint of PyPI json2vec is brought over with the export script and Model.from_exported"
        )
    if values.get("format", FORMAT) != FORMAT:
        raise CheckpointError(f"checkpoint {path} has format {values['format']!r}; this version reads {FORMAT}")
    return values


def plain_factory(factory: Any) -> dict[str, Any] | None:
    """An optimizer's or scheduler's factory as plain values; None where it has no import path."""
    named = as_factory(factory)
    return None if named is None else named.to_plain()


def described(
    values: dict[str, Any], *, trusted_modules: Sequence[str] = (), where: Any = "given"
) -> tuple[Schema, dict[Address, Vocabulary]]:
    """Schema and vocabularies of a checkpoint's values, without building the model.

    Raises:
        CheckpointError: a field type that is neither registered nor trusted, or a schema that is not valid.
    """
    import json2vec.fields  # noqa: F401 - registers the field types

    import_field_types(values.get("field_types", {}), trusted_modules, where)
    schema = schema_of(values, where)
    vocabularies = {}
    for address, leaf in schema.leaves.items():
        capacity = field_type(leaf).capacity
        if capacity is not None:
            vocabularies[address] = Vocabulary(capacity(leaf), values["vocabularies"].get(address, ()))
    return schema, vocabularies


def schema_of(values: dict[str, Any], path: Any) -> Schema:
    """The schema that a checkpoint's values hold. Raises `CheckpointError` where it is not valid."""
    try:
        return Schema.from_dict(values["schema"])
    except (SchemaError, TypeError) as exc:
        raise CheckpointError(f"checkpoint {path} holds a schema that is not valid: {exc}") from exc


def check_sizes(schema: Schema, values: dict[str, Any], path: Any) -> None:
    """Compare what the schema asks for with the tensors that the file holds, before a model of it takes memory.

    Raises:
        CheckpointError: a number of the schema sizes a tensor that the file cannot have.
    """
    shapes = [tuple(tensor.shape) for tensor in values["state_dict"].values() if isinstance(tensor, torch.Tensor)]
    width = max((size for shape in shapes for size in shape), default=0)
    # A tensor has an axis of each of these sizes, or there is a tensor for each. What is small does no harm.
    most = {"d_model": max(width, 4096), "max_vocab_size": max(width, 100_000),
            "n_layers": max(len(shapes), 100), "n_linear": max(len(shapes), 100)}  # fmt: skip
    for name, value in _numbers(schema.to_dict()):
        if name in most and value > most[name]:
            raise CheckpointError(
                f"checkpoint {path}: its schema says {name}={value}; expected at most {most[name]}, as the file "
                f"holds {len(shapes)} tensors, none of them longer than {width}. Nothing was built of it. Remedy: take "
                "the file from where it was written; this one was changed"
            )


def _numbers(plain: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number inside plain values, with the key that it stands behind."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from _numbers(value, key)
    elif isinstance(plain, list | tuple):
        for value in plain:
            yield from _numbers(value, name)
    elif isinstance(plain, int) and not isinstance(plain, bool):
        yield name, plain


def import_field_types(paths: dict[str, str], trusted_modules: Sequence[str], where: Any) -> None:
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


def load_tensors(module: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Any) -> None:
    """Load a checkpoint's tensors. Raises `CheckpointError` where one is missing or has another shape."""
    own = module.state_dict()
    missing = sorted(set(own) - set(tensors))
    clashing = sorted(
        name for name in set(own) & set(tensors) if tuple(own[name].shape) != tuple(tensors[name].shape)
    )  # fmt: skip
    if missing or clashing:
        lines = [f"{name}: missing" for name in missing[:3]] + [
            f"{name}: expected {tuple(own[name].shape)}, found {tuple(tensors[name].shape)}" for name in clashing[:3]
        ]
        raise CheckpointError(f"the tensors of {path} do not fit its schema ({'; '.join(lines)})")
    module.load_state_dict({name: tensors[name] for name in own})


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
