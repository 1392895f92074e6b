"""Entity: which slots of one record hold the same value; the values themselves mean nothing.

Legend: B sequences, L slots, N rows, P slots of a row, C d_model.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch
from pydantic import Field, field_validator
from torch import nn
from torch.nn import functional as F

from json2vec.batch import FieldBatch
from json2vec.columns import LeafColumn
from json2vec.enums import Tokens
from json2vec.fields.counter import accuracy, masked_mean, state_loss
from json2vec.fields.registry import Arrays, FieldType, Shape, Tensors, register
from json2vec.fields.retyped import Verdict
from json2vec.fields.values import scatter, state_array, state_type, uniform, uniform_type
from json2vec.fields.vocabulary import Vocabulary
from json2vec.fields.vocabulary import codes as label_codes
from json2vec.reading.type_family import family
from json2vec.schema.nodes import Leaf

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


class Entity(Leaf):
    """Options of an Entity field.

    Args:
        topk: log the accuracy of the best k ids in training; each at least 2.
    """

    type: Literal["entity"] = "entity"
    topk: tuple[int, ...] = Field(())
    min_slots: ClassVar[int] = 2

    @field_validator("topk", mode="before")
    @classmethod
    def _sorted(cls, value: Any) -> Any:
        entries = tuple(sorted(set(value))) if value else ()
        if any(k < 2 for k in entries):
            raise ValueError(f"topk entries are at least 2; got {list(entries)}")
        return entries


def encode(column: LeafColumn, leaf: Entity, vocabulary: Vocabulary) -> Arrays:
    """int64: ids counted from 0 by first appearance within the row."""
    codes = label_codes(column.values)
    if not len(codes):
        return empty(leaf, column.state)
    rows = column.rows()
    _, first, group = np.unique(rows * (int(codes.max()) + 1) + codes, return_index=True, return_inverse=True)
    # Entities in order of appearance; an entity's id is its rank among those of its row.
    order = np.argsort(first, kind="stable")
    row_of = rows[first[order]]
    starts = np.searchsorted(row_of, row_of, side="left")
    ids = np.empty(len(first), np.int64)
    ids[order] = np.arange(len(first)) - starts
    return {"value": scatter(column, ids[group])}


def empty(leaf: Entity, state: np.ndarray) -> Arrays:
    return {"value": np.zeros(state.shape, np.int64)}


class EntityEmbedder(nn.Module):
    """S[state] + E[id]."""

    def __init__(self, leaf: Entity, shape: Shape) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {"state": nn.Embedding(len(Tokens), shape.d_model), "content": nn.Embedding(shape.slots, shape.d_model)}
        )

    def observe(self, field: FieldBatch, target: bool) -> None:
        """Nothing to take in."""

    def forward(self, state: torch.Tensor, content: Tensors) -> torch.Tensor:
        valued = (state == Tokens.valued).unsqueeze(-1)
        return self.embeddings["state"](state) + valued * self.embeddings["content"](content["value"])


class EntityHeads(nn.Module):
    """One Lin for the state, one logit for each of the P possible ids."""

    def __init__(self, leaf: Entity, shape: Shape) -> None:
        super().__init__()
        self.state_linear = nn.Linear(shape.d_model, len(Tokens))
        self.projection = nn.Linear(shape.d_model, shape.slots)

    def forward(self, pooled: torch.Tensor) -> Tensors:
        return {"state": self.state_linear(pooled), "value": self.projection(pooled)}


def loss(
    outputs: Tensors, field: FieldBatch, leaf: Entity, embedder: EntityEmbedder, selected: torch.Tensor
) -> tuple[torch.Tensor, Tensors]:
    """Cross entropy of the state, plus cross entropy over ids in the valued slots."""
    states = field.original_state.view_as(selected)
    ids = field.original_content["value"].view_as(selected)
    valued = selected & (states == Tokens.valued)
    each = F.cross_entropy(outputs["value"].flatten(0, 1), ids.flatten(), reduction="none")
    content = masked_mean(each, valued.flatten())
    state = state_loss(outputs["state"], states, selected)
    metrics = {
        "loss:state": state,
        "loss:content": content,
        "accuracy:state": accuracy(outputs["state"], states, selected),
        "accuracy:content": accuracy(outputs["value"], ids, valued),
    }
    for k in leaf.topk:
        best = outputs["value"].topk(min(k, outputs["value"].shape[-1]), dim=-1).indices
        metrics[f"accuracy:top{k}"] = masked_mean((best == ids.unsqueeze(-1)).any(-1).float(), valued)
    return state + content, metrics


def emit(outputs: Tensors, leaf: Entity, vocabulary: Vocabulary, embedder: EntityEmbedder) -> Tensors:
    """The most likely id of each slot, with its probability."""
    probability, best = outputs["value"].softmax(-1).max(-1)
    return {"state": outputs["state"].softmax(-1), "value": best, "probability": probability}


def write(emitted: Arrays, leaf: Entity, vocabulary: Vocabulary) -> dict[str, pa.Array]:
    shape = emitted["value"].shape
    content = pa.StructArray.from_arrays(
        [uniform(emitted["value"], shape), uniform(emitted["probability"], shape)], fields=list(_content_type(shape[1]))
    )
    return {"state": state_array(emitted["state"]), "content": content}


def _content_type(slots: int) -> pa.StructType:
    return pa.struct(
        [
            pa.field("value", uniform_type(pa.int64(), (slots,))),
            pa.field("probability", uniform_type(pa.float32(), (slots,))),
        ]
    )


def output_type(leaf: Entity, slots: int, vocabulary: Vocabulary) -> dict[str, pa.DataType]:
    return {"state": state_type(slots), "content": _content_type(slots)}


def retyped(leaf: Entity, expected: pa.DataType, found: pa.DataType) -> Verdict:
    """Single values of any type are read alike, since they are compared within a record only."""
    if family(found) in ("list", "object", "map"):
        return "error", "the field compares single values"
    if family(expected) != family(found):
        return "info", "values are only compared within a record"
    return None


register(
    FieldType(
        name="entity", options=Entity, encode=encode, empty=empty, embedder=EntityEmbedder, decoder=EntityHeads,
        loss=loss, emit=emit, write=write, output_type=output_type, retyped=retyped,
    )
)  # fmt: skip
