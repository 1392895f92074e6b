"""Vector: a list of exactly n_dim numbers.

Legend: B sequences, L slots, N rows, P slots of a row, C d_model, D n_dim.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch
from pydantic import Field
from torch import nn

from json2vec.batch import FieldBatch
from json2vec.columns import LeafColumn
from json2vec.enums import Tokens
from json2vec.errors import EncodeError
from json2vec.fields.counter import accuracy, masked_mean, state_loss
from json2vec.fields.recognition import Evidence, Fit, InferenceConfig, Proposal, Refusal
from json2vec.fields.registry import Arrays, FieldType, Shape, Tensors, register
from json2vec.fields.retyped import Verdict
from json2vec.fields.values import list_lengths, scatter, state_array, state_type, uniform, uniform_type
from json2vec.fields.vocabulary import NO_VOCABULARY, Vocabulary
from json2vec.reading.plain import plain
from json2vec.reading.type_family import NUMERIC, family
from json2vec.schema.nodes import Leaf

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


LIMIT = 1e18
"""Numbers are clamped to +- this, infinities among them: their squares still fit into float32."""


class Vector(Leaf):
    """Options of a Vector field.

    Args:
        n_dim: numbers in every value.
        objective: loss of the content: squared (``l2``) or absolute (``l1``) difference.
    """

    type: Literal["vector"] = "vector"
    n_dim: int = Field(gt=0)
    objective: Literal["l1", "l2"] = "l2"


def encode(column: LeafColumn, leaf: Vector, vocabulary: Vocabulary) -> Arrays:
    """float32 (slots, n_dim), clamped. Raises `EncodeError` for another length, a null, a NaN or text inside."""
    values = column.values
    if isinstance(values, list):
        values = _as_lists(values)
    if len(values) == 0:
        return empty(leaf, column.state)
    arrow_type = values.type
    if not (
        pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type)
    ):
        raise EncodeError(f"expected a list of {leaf.n_dim} numbers, found {arrow_type}", item=0)
    lengths = list_lengths(values)
    if (lengths != leaf.n_dim).any():
        item = int(np.argmax(lengths != leaf.n_dim))
        raise EncodeError(f"expected a list of {leaf.n_dim} numbers, found {int(lengths[item])}", item=item)
    numbers = plain(values.flatten())
    inner = numbers.type
    if not (pa.types.is_floating(inner) or pa.types.is_integer(inner) or pa.types.is_decimal(inner)):
        item = 0 if not pa.types.is_null(inner) else int(np.argmax(lengths > 0))
        raise EncodeError(f"expected a list of {leaf.n_dim} numbers, found a list of {inner}", item=item)
    missing = numbers.is_null(nan_is_null=pa.types.is_floating(inner)).to_numpy(zero_copy_only=False)
    if missing.any():
        raise EncodeError("a null or NaN inside a vector", item=int(np.argmax(missing)) // leaf.n_dim)
    flat = pc.cast(numbers, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return {"value": scatter(column, flat.clip(-LIMIT, LIMIT).reshape(-1, leaf.n_dim).astype(np.float32))}


def _as_lists(values: list) -> pa.Array:
    for item, value in enumerate(values):
        try:
            pa.array([list(value)], pa.list_(pa.float64()))
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as exc:
            raise EncodeError(f"expected a list of numbers, found {value!r:.80}", item=item) from exc
    return pa.array([list(value) for value in values], pa.list_(pa.float64()))


def empty(leaf: Vector, state: np.ndarray) -> Arrays:
    return {"value": np.zeros((*state.shape, leaf.n_dim), np.float32)}


class VectorEmbedder(nn.Module):
    """S[state] + GELU(Lin(x))."""

    def __init__(self, leaf: Vector, shape: Shape) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(len(Tokens), shape.d_model)
        self.linear = nn.Sequential(nn.Linear(leaf.n_dim, shape.d_model), nn.GELU())

    def observe(self, field: FieldBatch, target: bool) -> None:
        """Nothing to take in."""

    def forward(self, state: torch.Tensor, content: Tensors) -> torch.Tensor:
        return self.embeddings(state) + self.linear(content["value"])


class VectorHeads(nn.Module):
    """One Lin for the state, one for the vector."""

    def __init__(self, leaf: Vector, shape: Shape) -> None:
        super().__init__()
        self.classification = nn.Linear(shape.d_model, len(Tokens))
        self.regression = nn.Linear(shape.d_model, leaf.n_dim)

    def forward(self, pooled: torch.Tensor) -> Tensors:
        return {"state": self.classification(pooled), "value": self.regression(pooled)}


def loss(
    outputs: Tensors, field: FieldBatch, leaf: Vector, embedder: VectorEmbedder, selected: torch.Tensor
) -> tuple[torch.Tensor, Tensors]:
    """Cross entropy of the state, plus the objective's mean over n_dim in the valued slots."""
    states = field.original_state.view_as(selected)
    valued = selected & (states == Tokens.valued)
    difference = outputs["value"] - field.original_content["value"].reshape(*selected.shape, leaf.n_dim)
    absolute, squared = difference.abs().mean(-1), difference.square().mean(-1)
    content = masked_mean(squared if leaf.objective == "l2" else absolute, valued)
    state = state_loss(outputs["state"], states, selected)
    metrics = {
        "loss:state": state,
        "loss:content": content,
        "accuracy:state": accuracy(outputs["state"], states, selected),
        "mae:content": masked_mean(absolute, valued),
        "rmse:content": masked_mean(squared, valued).sqrt(),
    }
    return state + content, metrics


def emit(outputs: Tensors, leaf: Vector, vocabulary: Vocabulary, embedder: VectorEmbedder) -> Tensors:
    """The vector, zeroed where the most likely state is not valued."""
    valued = outputs["state"].argmax(-1, keepdim=True) == Tokens.valued
    return {"state": outputs["state"].softmax(-1), "value": outputs["value"] * valued}


def write(emitted: Arrays, leaf: Vector, vocabulary: Vocabulary) -> dict[str, pa.Array]:
    return {"state": state_array(emitted["state"]), "content": uniform(emitted["value"], emitted["value"].shape)}


def output_type(leaf: Vector, slots: int, vocabulary: Vocabulary) -> dict[str, pa.DataType]:
    return {"state": state_type(slots), "content": uniform_type(pa.float32(), (slots, leaf.n_dim))}


def retyped(leaf: Vector, expected: Any, found: Any) -> Verdict:
    """Lists of any kind, of numbers of any width, are read alike, as long as they have n_dim items."""
    if family(found) != "list" or family(found.value_type) not in NUMERIC - {"boolean"}:
        return "error", f"the field reads lists of {leaf.n_dim} numbers"
    if pa.types.is_fixed_size_list(found) and found.list_size != leaf.n_dim:
        return "error", f"the model reads exactly {leaf.n_dim} numbers"
    return None


def measure(column: LeafColumn, leaf: Vector) -> np.ndarray:
    """The L2 norm of the vector."""
    content = encode(column, leaf, NO_VOCABULARY)["value"]
    return np.linalg.norm(content[column.slots].astype(np.float64), axis=-1)


def recognise(column: Evidence, config: InferenceConfig) -> Proposal | Refusal | None:
    """Lists of numbers that all have the same length."""
    arrow_type: Any = column.type
    if family(arrow_type) != "list" or family(arrow_type.value_type) not in NUMERIC - {"boolean"}:
        return None
    widths = pc.unique(pc.list_value_length(column.values)).to_pylist()
    if len(widths) > 1 or widths == [0]:
        return Refusal(f"lists of numbers of {min(widths)} to {max(widths)} items; a Vector needs one width")
    if column.values.flatten().null_count:
        return Refusal("lists of numbers with nulls inside")
    return Proposal(Fit.certain, f"lists of {widths[0]} numbers", {"n_dim": widths[0]})


register(
    FieldType(
        name="vector", options=Vector, encode=encode, empty=empty, embedder=VectorEmbedder, decoder=VectorHeads,
        loss=loss, emit=emit, write=write, output_type=output_type, retyped=retyped, measure=measure,
        recognise=recognise,
    )
)  # fmt: skip
