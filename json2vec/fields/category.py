"""Category: one label out of a learned vocabulary.

Legend: B sequences, L slots, N rows, P slots of a row, C d_model, V max_vocab_size, n labels known now, k topk.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from json2vec.batch import FieldBatch
from json2vec.columns import LeafColumn
from json2vec.enums import Tokens
from json2vec.fields.counter import Counters, accuracy, masked_mean, state_loss
from json2vec.fields.heads import LabelHeads
from json2vec.fields.recognition import Evidence, Fit, InferenceConfig, Proposal
from json2vec.fields.registry import Arrays, FieldType, Shape, Tensors, register
from json2vec.fields.retyped import label
from json2vec.fields.tie import Content, Tie, near
from json2vec.fields.values import scatter, state_array, state_type, uniform, uniform_type
from json2vec.fields.vocabulary import Vocabulary, room_for
from json2vec.nn.tables import SMALL_TABLE, look_up, plain
from json2vec.reading.type_family import family
from json2vec.schema.nodes import Leaf


class Category(Leaf):
    """Options of a Category field.

    Args:
        max_vocab_size: most labels to learn; later ones count as unknown.
        p_unavailable: probability that a known label is taken for an unknown one in training, 0..1.
        topk: emit the best max(topk) labels with their probabilities; each at least 2 and below max_vocab_size.
    """

    type: Literal["category"] = "category"
    max_vocab_size: int = Field(10_000, gt=0)
    p_unavailable: float = Field(0.01, ge=0, le=1)
    topk: tuple[int, ...] = ()

    @field_validator("topk", mode="before")
    @classmethod
    def _sorted(cls, value: Any) -> Any:
        return tuple(sorted(set(value))) if value else ()

    @model_validator(mode="after")
    def _topk_fits(self) -> Category:
        if any(not 2 <= k < self.max_vocab_size for k in self.topk):
            raise ValueError(f"topk entries lie between 2 and max_vocab_size - 1; got {list(self.topk)}")
        return self


def encode(column: LeafColumn, leaf: Category, vocabulary: Vocabulary) -> Arrays:
    """int64: the label's index, V where it is unknown."""
    return {"value": scatter(column, vocabulary.lookup(column.values))}


def empty(leaf: Category, state: np.ndarray) -> Arrays:
    return {"value": np.zeros(state.shape, np.int64)}


def perturb(content: Tensors, state: torch.Tensor, leaf: Category) -> Tensors:
    """Turn known labels into unknown ones with probability p_unavailable."""
    lost = (torch.rand(state.shape) < leaf.p_unavailable) & (state == Tokens.valued)
    return {"value": torch.where(lost, leaf.max_vocab_size, content["value"])}


class CategoryEmbedder(nn.Module):
    """S[state] + E[index]; an unknown label adds nothing."""

    def __init__(self, leaf: Category, shape: Shape) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "state": nn.Embedding(len(Tokens), shape.d_model),
                "content": nn.Embedding(leaf.max_vocab_size, shape.d_model),
            }
        )
        self.counters = Counters(state=len(Tokens), content=leaf.max_vocab_size)
        self.capacity = leaf.max_vocab_size

    def observe(self, field: FieldBatch, target: bool) -> None:
        """Take in one training batch as it was before hiding."""
        states, labels = field.original_state, field.original_content["value"]
        self.counters["state"].update(states)
        self.counters["content"].update(labels[(states == Tokens.valued) & (labels < self.capacity)])

    def forward(self, state: torch.Tensor, content: Tensors) -> torch.Tensor:
        index = content["value"]
        known = (state == Tokens.valued) & (index < self.capacity)
        label = self.embeddings["content"](index.clamp(max=self.capacity - 1))
        return self.embeddings["state"](state) + label * known.unsqueeze(-1)

    def alike(self) -> Hashable | None:
        small = cast("nn.Embedding", self.embeddings["content"]).weight.numel() <= SMALL_TABLE
        return self.capacity if small and all(plain(e, nn.Embedding) for e in self.embeddings.values()) else None

    @staticmethod
    def embed_together(
        embedders: Sequence[CategoryEmbedder], state_KB: torch.Tensor, content: Tensors
    ) -> torch.Tensor:
        """`forward` of K embedders, two lookups instead of 2 K (`json2vec.fields.embed_leaves`)."""
        capacity, index_KB = embedders[0].capacity, content["value"]
        known = (state_KB == Tokens.valued) & (index_KB < capacity)
        label = look_up([e.embeddings["content"] for e in embedders], index_KB.clamp(max=capacity - 1))
        return look_up([e.embeddings["state"] for e in embedders], state_KB) + label * known.unsqueeze(-1)


def loss(
    outputs: Tensors, field: FieldBatch, leaf: Category, embedder: CategoryEmbedder, selected: torch.Tensor
) -> tuple[torch.Tensor, Tensors]:
    """Weighted cross entropies; an unknown label pulls towards the uniform distribution over all V."""
    states = field.original_state.view_as(selected)
    labels = field.original_content["value"].view_as(selected)
    valued = selected & (states == Tokens.valued)
    known = valued & (labels < leaf.max_vocab_size)
    log_p = outputs["value"].log_softmax(-1)
    index = labels.clamp(max=leaf.max_vocab_size - 1)
    of_label = -log_p.gather(-1, index.unsqueeze(-1)).squeeze(-1) * embedder.counters["content"].weights()[index]
    content = masked_mean(torch.where(known, of_label, -log_p.mean(-1)), valued)
    state = state_loss(outputs["state"], states, selected, embedder.counters["state"].weights())
    metrics = {
        "loss:state": state,
        "loss:content": content,
        "accuracy:state": accuracy(outputs["state"], states, selected),
        "accuracy:content": accuracy(outputs["value"], labels, known),
    }
    for k in leaf.topk:
        best = outputs["value"].topk(k, dim=-1).indices
        metrics[f"accuracy:top{k}"] = masked_mean((best == labels.unsqueeze(-1)).any(-1).float(), known)
    return state + content, metrics


def emit(outputs: Tensors, leaf: Category, vocabulary: Vocabulary, embedder: CategoryEmbedder) -> Tensors:
    """Probabilities over the n labels known now: the best one, and the best k."""
    emitted = {"state": outputs["state"].softmax(-1)}
    n = len(vocabulary)
    if n == 0:
        zeros = outputs["state"].new_zeros(outputs["state"].shape[:-1])
        return {**emitted, "label": zeros.long(), "probability": zeros}
    probabilities = outputs["value"][..., :n].softmax(-1)
    emitted["probability"], emitted["label"] = probabilities.max(-1)
    if leaf.topk:
        best = probabilities.topk(min(max(leaf.topk), n), dim=-1)
        emitted["top_probability"], emitted["top_label"] = best.values, best.indices
    return emitted


def write(emitted: Arrays, leaf: Category, vocabulary: Vocabulary) -> dict[str, pa.Array]:
    shape = emitted["label"].shape
    content = pa.StructArray.from_arrays(
        [
            uniform(vocabulary.take(emitted["label"].reshape(-1)), shape),
            uniform(emitted["probability"], shape),
            uniform(_topk(emitted, vocabulary), shape),
        ],
        fields=list(_content_type(leaf, shape[1], vocabulary)),
    )
    return {"state": state_array(emitted["state"]), "content": content}


_TOP = pa.struct([pa.field("label", pa.string()), pa.field("probability", pa.float32())])


def _topk(emitted: Arrays, vocabulary: Vocabulary) -> pa.Array:
    """One list of (label, probability) for each slot, best first; never squeezed, empty without topk."""
    slots = emitted["label"].size
    k = emitted["top_label"].shape[-1] if "top_label" in emitted else 0
    best = pa.StructArray.from_arrays(
        [
            vocabulary.take_text(emitted["top_label"].reshape(-1)) if k else pa.array([], pa.string()),
            pa.array(emitted["top_probability"].reshape(-1) if k else [], pa.float32()),
        ],
        fields=list(_TOP),
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(slots + 1, dtype=np.int32) * k), best)


def _content_type(leaf: Category, slots: int, vocabulary: Vocabulary) -> pa.StructType:
    return pa.struct(
        [
            pa.field("value", uniform_type(vocabulary.arrow_type, (slots,))),
            pa.field("probability", uniform_type(pa.float32(), (slots,))),
            pa.field("topk", uniform_type(pa.list_(_TOP), (slots,))),
        ]
    )


def output_type(leaf: Category, slots: int, vocabulary: Vocabulary) -> dict[str, pa.DataType]:
    return {"state": state_type(slots), "content": _content_type(leaf, slots, vocabulary)}


def tied(stored: Content, again: Content, tolerance: float) -> bool:
    """Whether two contents with equal probabilities name the same labels but for those that are as probable."""
    slots = [(stored, again)]
    if isinstance(stored["probability"], list):
        slots = [({key: stored[key][i] for key in stored}, {key: again[key][i] for key in again})
                 for i in range(len(stored["probability"]))]  # fmt: skip
    return all(_tied(a, b, tolerance) and _tied(b, a, tolerance) for a, b in slots)


def _tied(left: Content, right: Content, tolerance: float) -> bool:
    # Damaged files may hold nulls where the writer leaves none.
    listed = {
        item["label"]: item["probability"] for item in right["topk"] or [] if item and item["probability"] is not None
    }
    # A label that only `one` lists was beaten, at best narrowly, by the last that `other` lists.
    last = min(listed.values(), default=None)
    for item in left["topk"] or []:
        if (
            item is None
            or item["label"] is None
            or not near(item["probability"], listed.get(item["label"], last), tolerance)
        ):
            return False
    return left["value"] == right["value"] or near(left["probability"], listed.get(str(left["value"])), tolerance)


def recognise(column: Evidence, config: InferenceConfig) -> Proposal | None:
    """Booleans are certain; whole numbers that are few, or are named as keys are, are likely; any text is possible."""
    column_family = family(column.type)
    if column_family == "boolean":
        return Proposal(Fit.certain, "booleans", {"max_vocab_size": 2})
    if column_family not in ("integer", "string"):
        return None
    options = {"max_vocab_size": room_for(column.distinct, config.vocab_cap)}
    if column_family == "string":
        return Proposal(Fit.possible, f"texts, {column.distinct} different", options)
    hints = [hint for hint in config.id_name_hints if hint.casefold() in column.name.casefold()]
    if hints:
        return Proposal(Fit.likely, f"whole numbers with {hints[0]!r} in the name", options)
    if column.distinct <= config.category_max_cardinality:
        return Proposal(Fit.likely, f"whole numbers, {column.distinct} different", options)
    return None


register(
    FieldType(
        name="category", options=Category, encode=encode, empty=empty, embedder=CategoryEmbedder, decoder=LabelHeads,
        loss=loss, emit=emit, write=write, output_type=output_type, perturb=perturb,
        capacity=lambda leaf: leaf.max_vocab_size, retyped=label, recognise=recognise,
        tie=Tie(frozenset({"value", "probability", "topk"}), free=frozenset({"value", "topk"}), tied=tied),
        table_parts=("value", "probability"),
    )
)  # fmt: skip
