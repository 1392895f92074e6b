"""What is known of an option, read from the field that declares it."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from json2vec.rank_files.settings import Changes, told


@dataclass(frozen=True)
class Option:
    """What is known of one option.

    Attributes:
        name: as people write it.
        type: what it may be in Python.
        plain: what it may be in YAML.
        default: the value that holds where nothing is said; not to be read where it is required.
        required: whether it must be said.
        unit: of a number, ``path`` for a path or URI; empty otherwise.
        description: whole sentences.
        example: a value other than the default, or None.
        changes: what another value changes in the rank files.
    """

    name: str
    type: Any
    plain: Any
    default: Any
    required: bool
    unit: str
    description: str
    example: Any
    changes: Changes


def options_of(model: type[BaseModel], *, last: type[BaseModel] | None = None) -> tuple[Option, ...]:
    """The options that a model's fields declare: the required ones first.

    Args:
        model: each of its fields is described by `json2vec.rank_files.settings.about`.
        last: the fields of this base class follow the model's own.
    """
    inherited = last.model_fields if last is not None else {}
    own = [name for name in model.model_fields if name not in inherited]
    ordered = sorted([*own, *inherited], key=lambda name: not model.model_fields[name].is_required())
    return tuple(_option(name, model.model_fields[name]) for name in ordered)


def _option(name: str, field: FieldInfo) -> Option:
    extra = told(field)
    return Option(
        name=name,
        type=field.annotation,
        plain=_plain(field.annotation),
        default=None if field.is_required() else field.default,
        required=field.is_required(),
        unit=str(extra.get("unit", "")),
        description=field.description or "",
        example=field.examples[0] if field.examples else None,
        changes=typing.cast("Changes", extra.get("changes", "nothing")),
    )


def _plain(annotation: Any) -> Any:
    """The part of a type that YAML can say: texts, numbers, lists and mappings."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        parts = [part for member in get_args(annotation) if (part := _plain(member)) is not None]
        return typing.Union[tuple(parts)]  # noqa: UP007 - of as many types as there are
    if origin is Literal or annotation in (str, int, float, bool, type(None)):
        return annotation
    if origin is not None and issubclass(origin, Mapping):
        key, value = get_args(annotation)
        return dict[key, value]
    if origin is not None and issubclass(origin, Sequence):
        return list[get_args(annotation)[0]]
    return None
