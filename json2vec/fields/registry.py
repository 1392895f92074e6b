"""A field type is one value: options, functions for the model, and facts for those who look at data and predictions.

It is registered with one call. Nobody else compares the names of field types: what a profile counts, what the contract
says to another Arrow type, what `infer_schema` proposes and what verification takes for a tie is asked here.
"""

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
from json2vec.fields.recognition import Evidence, InferenceConfig, Proposal, Refusal
from json2vec.fields.retyped import Verdict, any_type
from json2vec.fields.tie import Tie
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
        options: the class of its options, a subclass of `Leaf`.

    What the model asks:

    Attributes:
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

    What others ask, who look at shards, training data or written predictions:

    Attributes:
        retyped: (options, Arrow type in training, Arrow type of the new shards) -> None where both are read alike, else
            how bad that is and why. The default takes another family of types for an error.
        measure: (column, options) -> float64 (V,), the number that a profile counts for each value, such as the norm of
            a vector; NaN counts as null. None where the values are no numbers. Types with a vocabulary
            (`capacity`) have their labels counted.
        encodes_cheaply: whether the contract may try `encode` on a sample before a launch. Where not, it takes
            any value for one that can be encoded.
        recognise: (column of a sample, how to decide) -> whether `infer_schema` should propose this type for it; None
            where nothing speaks for it. A type without it is never proposed.
        tie: when two predictions of a row may differ although nothing is wrong; None where they never may.
        scale: (options, embedder) -> how many raw units are one unit of the head. Verification allows for so much more
            rounding. None where the head speaks in raw units.
        table_parts: the names of those entries of ``content`` that a table wants as columns of their own, the most
            important first. Empty where ``content`` as it is makes one column.
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
    retyped: Callable[[Any, pa.DataType, pa.DataType], Verdict] = any_type
    measure: Callable[[LeafColumn, Any], np.ndarray] | None = None
    encodes_cheaply: bool = True
    recognise: Callable[[Evidence, InferenceConfig], Proposal | Refusal | None] | None = None
    tie: Tie | None = None
    scale: Callable[[Any, Any], float] | None = None
    table_parts: tuple[str, ...] = ()


FIELD_TYPES: dict[str, FieldType] = {}


def register(field_type: FieldType) -> FieldType:
    """Make a field type known by its name, for schemas and checkpoints.

    Raises:
        SchemaError: another field type has the name already.
    """
    registered = FIELD_TYPES.get(field_type.name)
    if registered is not None and registered.options is not field_type.options:
        raise SchemaError(
            f"field type {field_type.name!r} is registered already, with options {registered.options.__qualname__}. "
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
