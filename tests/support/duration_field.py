"""Duration: how long something took. A field type in one file, as those in json2vec/fields are.

Legend: N rows, P slots of a row, V values that are there, C d_model.
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
from json2vec.fields.counter import masked_mean, state_loss
from json2vec.fields.recognition import Evidence, Fit, InferenceConfig, Proposal
from json2vec.fields.registry import Arrays, FieldType, Shape, Tensors, register
from json2vec.fields.retyped import SAME_VALUES, Verdict
from json2vec.fields.tie import Tie
from json2vec.fields.values import scatter, state_array, state_type, uniform, uniform_type
from json2vec.fields.vocabulary import Vocabulary
from json2vec.reading.type_family import family
from json2vec.schema.nodes import Leaf

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


class Duration(Leaf):
    """Options of a Duration field.

    Args:
        longest: seconds that count as 1, and the most that is predicted.
    """

    type: Literal["duration"] = "duration"
    longest: float = Field(86_400.0, gt=0)


def as_seconds(column: LeafColumn) -> np.ndarray:
    """float64 (V,). Durations of any unit, and whole numbers, which are seconds."""
    values = column.values
    if not len(values):
        return np.zeros(0)
    if isinstance(values, list) or family(values.type) not in ("duration", "integer"):
        raise EncodeError(f"expected a duration, found {values[0]!r:.80}", item=0)
    if family(values.type) == "integer":
        return values.to_numpy(zero_copy_only=False).astype(np.float64)
    return pc.cast(pc.cast(values, pa.duration("us")), pa.int64()).to_numpy(zero_copy_only=False) / 1e6


def encode(column: LeafColumn, leaf: Duration, vocabulary: Vocabulary) -> Arrays:
    """float32 (slots,): the share of the longest."""
    return {"value": scatter(column, (as_seconds(column) / leaf.longest).astype(np.float32))}


def empty(leaf: Duration, state: np.ndarray) -> Arrays:
    return {"value": np.zeros(state.shape, np.float32)}


class DurationEmbedder(nn.Module):
    """S[state] + Lin(value)."""

    def __init__(self, leaf: Duration, shape: Shape) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(len(Tokens), shape.d_model)
        self.linear = nn.Linear(1, shape.d_model)

    def observe(self, field: FieldBatch, target: bool) -> None:
        """Nothing to take in."""

    def forward(self, state: torch.Tensor, content: Tensors) -> torch.Tensor:
        valued = (state == Tokens.valued).unsqueeze(-1)
        return self.embeddings(state) + valued * self.linear(content["value"].unsqueeze(-1))


class DurationHeads(nn.Module):
    """One Lin for the state, one for the value."""

    def __init__(self, leaf: Duration, shape: Shape) -> None:
        super().__init__()
        self.classification = nn.Linear(shape.d_model, len(Tokens))
        self.regression = nn.Linear(shape.d_model, 1)

    def forward(self, pooled: torch.Tensor) -> Tensors:
        return {"state": self.classification(pooled), "value": self.regression(pooled).squeeze(-1)}


def loss(
    outputs: Tensors, field: FieldBatch, leaf: Duration, embedder: DurationEmbedder, selected: torch.Tensor
) -> tuple[torch.Tensor, Tensors]:
    states = field.original_state.view_as(selected)
    difference = outputs["value"] - field.original_content["value"].view_as(selected)
    content = masked_mean(difference.abs(), selected & (states == Tokens.valued))
    state = state_loss(outputs["state"], states, selected)
    return state + content, {"loss:state": state, "loss:content": content}


def emit(outputs: Tensors, leaf: Duration, vocabulary: Vocabulary, embedder: DurationEmbedder) -> Tensors:
    """State probabilities (N, P, 5) and seconds (N, P)."""
    return {"state": outputs["state"].softmax(-1), "seconds": outputs["value"].clamp(0, 1) * leaf.longest}


UNITS = np.array(["seconds", "minutes", "hours"])


def write(emitted: Arrays, leaf: Duration, vocabulary: Vocabulary) -> dict[str, pa.Array]:
    seconds = emitted["seconds"]
    units = pa.array(UNITS[np.searchsorted([60.0, 3600.0], seconds.reshape(-1), side="right")])
    content = pa.StructArray.from_arrays(
        [uniform(seconds, seconds.shape), uniform(units, seconds.shape)], names=["seconds", "unit"]
    )
    return {"state": state_array(emitted["state"]), "content": content}


def output_type(leaf: Duration, slots: int, vocabulary: Vocabulary) -> dict[str, pa.DataType]:
    parts = [("seconds", uniform_type(pa.float32(), (slots,))), ("unit", uniform_type(pa.string(), (slots,)))]
    return {"state": state_type(slots), "content": pa.struct(parts)}


def retyped(leaf: Duration, expected: pa.DataType, found: pa.DataType) -> Verdict:
    was, now = family(expected), family(found)
    if was == now:
        return None  # milliseconds are read as seconds are
    if now in ("duration", "integer"):
        return "warning", SAME_VALUES + "; whole numbers must be seconds"
    return "error", "the field reads durations"


def measure(column: LeafColumn, leaf: Duration) -> np.ndarray:
    return as_seconds(column)


def recognise(column: Evidence, config: InferenceConfig) -> Proposal | None:
    if family(column.type) != "duration":
        return None
    longest = pc.max(pc.cast(pc.cast(column.values, pa.duration("us")), pa.int64())).as_py() / 1e6
    return Proposal(Fit.certain, f"durations of up to {longest:g} seconds", {"longest": max(longest, 1.0)})


def scale(leaf: Duration, embedder: DurationEmbedder) -> float:
    return leaf.longest


tie = Tie(
    parts=frozenset({"seconds", "unit"}),
    free=frozenset({"unit"}),  # 59.9999 seconds and 1.0 minutes; that the seconds are close is checked already
    tied=lambda stored, again, tolerance: True,
)


register(
    FieldType(
        name="duration", options=Duration, encode=encode, empty=empty, embedder=DurationEmbedder,
        decoder=DurationHeads, loss=loss, emit=emit, write=write, output_type=output_type, retyped=retyped,
        measure=measure, recognise=recognise, tie=tie, scale=scale, table_parts=("seconds", "unit"),
    )
)  # fmt: skip
