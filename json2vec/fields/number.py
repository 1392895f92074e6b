"""Number: a real value, embedded by Fourier features.

Legend: B sequences, L slots, N rows, P slots of a row, C d_model, F frequencies.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from json2vec.batch import FieldBatch
from json2vec.columns import LeafColumn
from json2vec.enums import Tokens
from json2vec.fields.counter import Counter, accuracy, masked_mean, state_loss
from json2vec.fields.normalizer import EPSILON, LIMIT, Normalizer, normalized
from json2vec.fields.recognition import Evidence, Fit, InferenceConfig, Proposal
from json2vec.fields.registry import Arrays, FieldType, Shape, Tensors, register
from json2vec.fields.retyped import SAME_VALUES, Verdict, unsigned
from json2vec.fields.values import as_float64, scatter, state_array, state_type, uniform, uniform_type
from json2vec.fields.vocabulary import Vocabulary
from json2vec.nn.tables import look_up, plain
from json2vec.reading.type_family import NUMERIC, family
from json2vec.schema.nodes import Leaf


class Number(Leaf):
    """Options of a Number field.

    Args:
        jitter: training noise, in normalised units: u + jitter (U - U') with U, U' uniform on [0, 1).
        n_bands: octaves of frequencies below pi.
        offset: octaves of frequencies above pi.
        alpha: weight of the newest batch in the normaliser's moving average; None averages over all batches.
        objective: loss of the value: ``mae``, ``mse`` or ``huber`` (delta 1).
        units: what the head speaks: ``normalized`` units (new models; predictions are brought back to raw units), or
            ``raw`` units (models imported from PyPI json2vec).
    """

    type: Literal["number"] = "number"
    jitter: float = Field(0.0, ge=0)
    n_bands: int = Field(8, gt=0)
    offset: int = Field(4, gt=0)
    alpha: float | None = Field(None, gt=0, lt=1)
    objective: Literal["mae", "mse", "huber"] = "mae"
    units: Literal["normalized", "raw"] = "normalized"


def encode(column: LeafColumn, leaf: Number, vocabulary: Vocabulary) -> Arrays:
    """float32, read as float64; NaN is null, infinities are valued."""
    values = as_float64(column)
    nulls = np.isnan(values)
    column.state[column.slots[nulls]] = Tokens.null
    with np.errstate(over="ignore"):
        return {"value": scatter(column, np.where(nulls, 0, values).astype(np.float32))}


def empty(leaf: Number, state: np.ndarray) -> Arrays:
    return {"value": np.zeros(state.shape, np.float32)}


class NumberEmbedder(nn.Module):
    """S[state] + GELU(Lin([sin(u f), cos(u f)])), network.md section 2."""

    frequencies: torch.Tensor

    def __init__(self, leaf: Number, shape: Shape) -> None:
        super().__init__()
        frequencies = math.pi * 2.0 ** torch.arange(-leaf.n_bands, leaf.offset + 1, dtype=torch.float32)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.embeddings = nn.Embedding(len(Tokens), shape.d_model)
        self.linear = nn.Linear(2 * len(frequencies), shape.d_model)
        self.normalizer = Normalizer(leaf.alpha)
        self.counter = Counter(len(Tokens))
        self.jitter = leaf.jitter
        self.bound = 1e4 / (math.pi * 2.0**leaf.offset)
        self.octaves = (leaf.n_bands, leaf.offset)

    def observe(self, field: FieldBatch, target: bool) -> None:
        """Take in one training batch: states as they were, values as far as they are visible."""
        self.counter.update(field.original_state)
        state, values = (
            (field.original_state, field.original_content["value"]) if target else (field.state, field.content["value"])
        )
        self.normalizer.update(values[(state == Tokens.valued) & values.isfinite()])

    def features(self, state_BL: torch.Tensor, value_BL: torch.Tensor) -> torch.Tensor:
        """Fourier features (B, L, 2 F)."""
        return self._fourier(state_BL, value_BL, self.normalizer(value_BL))

    def forward(self, state: torch.Tensor, content: Tensors) -> torch.Tensor:
        return self.embeddings(state) + F.gelu(self.linear(self.features(state, content["value"])))

    def _fourier(self, state: torch.Tensor, value: torch.Tensor, normalized: torch.Tensor) -> torch.Tensor:
        """(...) to (..., 2 F); in float32, since angles go up to 1e4 and amplify rounding."""
        usable = (state == Tokens.valued) & value.isfinite()
        u = torch.where(usable, normalized, value)
        if self.training and self.jitter:
            u = u + self.jitter * (torch.rand_like(u) - torch.rand_like(u))
        u = u.clamp(-self.bound, self.bound).nan_to_num(nan=0.0)
        angles = u.unsqueeze(-1) * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def alike(self) -> Hashable | None:
        return self.octaves if plain(self.linear, nn.Linear) and plain(self.embeddings, nn.Embedding) else None

    @staticmethod
    def embed_together(embedders: Sequence[NumberEmbedder], state_KB: torch.Tensor, content: Tensors) -> torch.Tensor:
        """`forward` of K embedders, one batched product instead of K (`json2vec.fields.embed_leaves`)."""
        value_KB = content["value"]
        mean_K1, var_K1 = (torch.stack([getattr(e.normalizer, name) for e in embedders]) for name in ("mean", "var"))
        features = embedders[0]._fourier(state_KB, value_KB, normalized(value_KB, mean_K1, var_K1))
        weights = torch.stack([e.linear.weight for e in embedders]).transpose(1, 2)
        biases = torch.stack([e.linear.bias for e in embedders]).unsqueeze(1)
        return look_up([e.embeddings for e in embedders], state_KB) + F.gelu(torch.baddbmm(biases, features, weights))


class NumberHeads(nn.Module):
    """One Lin for the state, one for the value."""

    def __init__(self, leaf: Number, shape: Shape) -> None:
        super().__init__()
        self.classification = nn.Linear(shape.d_model, len(Tokens))
        self.regression = nn.Linear(shape.d_model, 1)

    def forward(self, pooled: torch.Tensor) -> Tensors:
        return {"state": self.classification(pooled), "value": self.regression(pooled).squeeze(-1)}


def loss(
    outputs: Tensors, field: FieldBatch, leaf: Number, embedder: NumberEmbedder, selected: torch.Tensor
) -> tuple[torch.Tensor, Tensors]:
    """Weighted cross entropy of the state, plus the objective over the valued slots in normalised units."""
    states = field.original_state.view_as(selected)
    truth = field.original_content["value"].view_as(selected)
    valued = selected & (states == Tokens.valued) & (truth.abs() <= LIMIT)
    truth = torch.where(valued, truth, 0.0)
    normalizer = embedder.normalizer
    if leaf.units == "normalized":
        raw = normalizer.inverse(outputs["value"])
        difference = outputs["value"] - normalizer(truth)
    else:
        raw = outputs["value"]
        difference = (raw - truth) / normalizer.var.sqrt().clamp(min=EPSILON)
    objective = {"mae": torch.abs, "mse": torch.square, "huber": _huber}[leaf.objective]
    content = masked_mean(objective(difference), valued)
    state = state_loss(outputs["state"], states, selected, embedder.counter.weights())
    metrics = {
        "loss:state": state,
        "loss:content": content,
        "accuracy:state": accuracy(outputs["state"], states, selected),
        "mae:content": masked_mean((raw - truth).abs(), valued),
        "rmse:content": masked_mean((raw - truth).square(), valued).sqrt(),
    }
    return state + content, metrics


def _huber(difference: torch.Tensor) -> torch.Tensor:
    return F.huber_loss(difference, torch.zeros_like(difference), reduction="none", delta=1.0)


def emit(outputs: Tensors, leaf: Number, vocabulary: Vocabulary, embedder: NumberEmbedder) -> Tensors:
    """State probabilities (N, P, 5) and the value (N, P) in raw units."""
    value = outputs["value"]
    if leaf.units == "normalized":
        value = embedder.normalizer.inverse(value)
    return {"state": outputs["state"].softmax(-1), "value": value}


def write(emitted: Arrays, leaf: Number, vocabulary: Vocabulary) -> dict[str, pa.Array]:
    return {"state": state_array(emitted["state"]), "content": uniform(emitted["value"], emitted["value"].shape)}


def output_type(leaf: Number, slots: int, vocabulary: Vocabulary) -> dict[str, pa.DataType]:
    return {"state": state_type(slots), "content": uniform_type(pa.float32(), (slots,))}


def retyped(leaf: Number, expected: pa.DataType, found: pa.DataType) -> Verdict:
    """Numbers of any width are read alike; texts are, where the training read texts."""
    was, now = family(expected), family(found)
    if now not in NUMERIC:
        return None if was == now == "string" else ("error", "the field reads numbers")
    if was not in NUMERIC:
        return "warning", SAME_VALUES
    if was == "float" and now == "integer":
        return "warning", "fractions of the values may have been lost"
    if was == now or (was, now) == ("integer", "float"):
        return unsigned(expected, found)
    return "warning", SAME_VALUES


def measure(column: LeafColumn, leaf: Number) -> np.ndarray:
    """The number itself."""
    return as_float64(column)


def recognise(column: Evidence, config: InferenceConfig) -> Proposal | None:
    """Fractions are certain; whole numbers may be labels just as well."""
    column_family = family(column.type)
    if column_family in ("float", "decimal"):
        return Proposal(Fit.certain, "numbers with fractions", {})
    if column_family == "integer":
        return Proposal(Fit.possible, f"whole numbers, {column.distinct} different", {})
    return None


def scale(leaf: Number, embedder: NumberEmbedder) -> float:
    """The standard deviation in training: the head speaks in units of it."""
    return float(embedder.normalizer.var.sqrt()) if leaf.units == "normalized" else 1.0


register(
    FieldType(
        name="number", options=Number, encode=encode, empty=empty, embedder=NumberEmbedder, decoder=NumberHeads,
        loss=loss, emit=emit, write=write, output_type=output_type, retyped=retyped, measure=measure,
        recognise=recognise, scale=scale,
    )
)  # fmt: skip
