"""A field type is one value: options, encode, embedder, decoder, loss and write, registered with one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from json2vec.batch import FieldBatch
from json2vec.columns import LeafColumn
from json2vec.errors import SchemaError
from json2vec.fields.vocabulary import Vocabulary
from json2vec.schema.nodes import LEAF_TYPES, Leaf

Tensors = dict[str, torch.Tensor]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Shape:
    """What an embedder or decoder must know of its surroundings.

    Attributes:
        d_model: C, features of a vector.
        slots: P, slots of the leaf in one row.
    """

    d_model: int
    slots: int


@dataclass(frozen=True)
class FieldType:
    """One kind of leaf.

    Legend: N rows, P slots, C d_model; state shape (N, 1, L1, ...).

    Attributes:
        name: the ``type`` of its options.
        options: its options, a `Leaf`.
        encode: (column, options, vocabulary) -> numpy arrays beginning with (N * P,), zeros where not valued.
        empty: (options, slots, filled with state) -> the same arrays for slots without values.
        embedder: (options, shape) -> module: FieldBatch with state (B, L) -> tokens (B, L, C).
        decoder: (options, shape) -> module of heads: pooled (N, P, C) -> {"state": (N, P, 5), ...}.
        loss: (outputs, field, options, embedder, slots to train as a bool (N, P)) -> (scalar loss, metrics).
        emit: (outputs, options, vocabulary, embedder) -> what is copied to the host: probabilities, raw units.
        write: (emitted arrays, options, vocabulary) -> the Arrow columns that `output_type` announces.
        output_type: (options, P, vocabulary) -> name and type of each written column. A type without emit, write and
            output_type is never written.
        perturb: (content, state, options) -> content with training noise; None where the type knows none.
        capacity: options -> most labels to learn; None where the type has no vocabulary.
        labels: values -> the labels they hold; None where every value is a label.
    """

    name: str
    options: type[Leaf]
    encode: Callable[[LeafColumn, Any, Vocabulary], Arrays]
    empty: Callable[[Any, np.ndarray], Arrays]
    embedder: Callable[[Any, Shape], nn.Module]
    decoder: Callable[[Any, Shape], nn.Module]
    loss: Callable[[Tensors, FieldBatch, Any, Any, torch.Tensor], tuple[torch.Tensor, Tensors]]
    emit: Callable[[Tensors, Any, Vocabulary, Any], Tensors] | None = None
    write: Callable[[Arrays, Any, Vocabulary], dict[str, pa.Array]] | None = None
    output_type: Callable[[Any, int, Vocabulary], dict[str, pa.DataType]] | None = None
    perturb: Callable[[Tensors, torch.Tensor, Any], Tensors] | None = None
    capacity: Callable[[Any], int] | None = None
    labels: Callable[[Any], Any] | None = None


FIELD_TYPES: dict[str, FieldType] = {}


def register(field_type: FieldType) -> FieldType:
    """Make a field type known by its name, for schemas and checkpoints.

    Raises:
        SchemaError: another field type has the name already.
    """
    known = FIELD_TYPES.get(field_type.name)
    if known is not None and known.options is not field_type.options:
        raise SchemaError(
            f"field type {field_type.name!r} is registered already, with options {known.options.__qualname__}. "
            "Remedy: choose another name"
        )
    FIELD_TYPES[field_type.name] = field_type
    LEAF_TYPES[field_type.name] = field_type.options
    return field_type


def field_type(leaf: Leaf) -> FieldType:
    """The registered field type of ``leaf``."""
    try:
        return FIELD_TYPES[leaf.type]
    except KeyError:
        raise SchemaError(
            f"field {leaf.name!r} has type {leaf.type!r}, which is not registered. "
            "Remedy: call json2vec.register(FieldType(...)) before building the model"
        ) from None
