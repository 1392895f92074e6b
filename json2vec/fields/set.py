"""Set: any number of labels out of a learned vocabulary.

Legend: B sequences, L slots, N rows, P slots of a row, C d_model, V max_vocab_size, n labels known now, K labels of the
largest set in the batch. Sets travel as K label indices a slot, padded with V: multi-hot vectors would be V wide.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from json2vec.batch import FieldBatch
from json2vec.columns import LeafColumn, as_arrow
from json2vec.enums import Tokens
from json2vec.fields.counter import Counters, accuracy, masked_mean, state_loss
from json2vec.fields.heads import LabelHeads
from json2vec.fields.recognition import Evidence, Fit, InferenceConfig, Proposal
from json2vec.fields.registry import Arrays, FieldType, Shape, Tensors, register
from json2vec.fields.retyped import Verdict, label
from json2vec.fields.values import list_lengths, state_array, state_type, uniform, uniform_type
from json2vec.fields.vocabulary import Vocabulary, room_for
from json2vec.reading.type_family import family
from json2vec.schema.nodes import Leaf

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


class Set(Leaf):
    """Options of a Set field.

    Args:
        max_vocab_size: most labels to learn; later ones are left out.
        p_unavailable: probability that a label is dropped in training, 0..1.
        threshold: emit only labels of at least this probability, 0..1; None emits all.
    """

    type: Literal["set"] = "set"
    max_vocab_size: int = Field(10_000, gt=0)
    p_unavailable: float = Field(0.01, ge=0, le=1)
    threshold: float | None = Field(None, ge=0, le=1)


def split(values: pa.Array | list[Any]) -> tuple[pa.Array | list[Any], np.ndarray]:
    """All labels of V sets in a row, and int64 (labels,): the set of each. A scalar is a set of one label."""
    if isinstance(values, list):
        sets = [list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value] for value in values]
        pairs = [(label, index) for index, members in enumerate(sets) for label in members if label is not None]
        return as_arrow([label for label, _ in pairs]), np.array([index for _, index in pairs], np.int64)
    arrow_type = values.type
    if not (
        pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type)
    ):
        return values, np.arange(len(values), dtype=np.int64)
    labels = values.flatten()
    if isinstance(labels, pa.DictionaryArray) and labels.dictionary.null_count:
        labels = labels.dictionary_decode()  # a null of the dictionary is none of the array's own
    owner = np.repeat(np.arange(len(values), dtype=np.int64), list_lengths(values))
    if labels.null_count:
        valid = labels.is_valid()
        return labels.filter(valid), owner[valid.to_numpy(zero_copy_only=False)]
    return labels, owner


def encode(column: LeafColumn, leaf: Set, vocabulary: Vocabulary) -> Arrays:
    """int64 (slots, K): indices of the known labels, each once, V behind them."""
    labels, owner = split(column.values)
    index = vocabulary.lookup(labels)
    known = index < leaf.max_vocab_size
    # One number for (set, label): unique sorts by set and drops repeats.
    pairs = np.unique(owner[known] * (leaf.max_vocab_size + 1) + index[known])
    owner, index = np.divmod(pairs, leaf.max_vocab_size + 1)
    counts = np.bincount(owner, minlength=len(column.slots))
    width = max(1, int(counts.max(initial=0)))
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    content = column.full(leaf.max_vocab_size, np.int64, (width,))
    content[column.slots[owner], place] = index
    return {"labels": content}


def empty(leaf: Set, state: np.ndarray) -> Arrays:
    return {"labels": np.full((*state.shape, 1), leaf.max_vocab_size, np.int64)}


def perturb(content: Tensors, state: torch.Tensor, leaf: Set) -> Tensors:
    """Drop labels with probability p_unavailable."""
    labels = content["labels"]
    return {"labels": torch.where(torch.rand(labels.shape) < leaf.p_unavailable, leaf.max_vocab_size, labels)}


class SetEmbedder(nn.Module):
    """S[state] + the mean of the label rows."""

    def __init__(self, leaf: Set, shape: Shape) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "state": nn.Embedding(len(Tokens), shape.d_model),
                "content": nn.Embedding(leaf.max_vocab_size, shape.d_model),
            }
        )
        self.counters = Counters(state=len(Tokens))
        self.capacity = leaf.max_vocab_size

    def observe(self, field: FieldBatch, target: bool) -> None:
        """Take in one training batch as it was before hiding."""
        self.counters["state"].update(field.original_state)

    def forward(self, state: torch.Tensor, content: Tensors) -> torch.Tensor:
        labels_BLK = content["labels"]
        known = (labels_BLK < self.capacity) & (state == Tokens.valued).unsqueeze(-1)
        rows = self.embeddings["content"](labels_BLK.clamp(max=self.capacity - 1)) * known.unsqueeze(-1)
        return self.embeddings["state"](state) + rows.sum(-2) / known.sum(-1, keepdim=True).clamp(min=1)


def loss(
    outputs: Tensors, field: FieldBatch, leaf: Set, embedder: SetEmbedder, selected: torch.Tensor
) -> tuple[torch.Tensor, Tensors]:
    """Weighted cross entropy of the state, plus binary cross entropy over all V labels of the valued slots."""
    states = field.original_state.view_as(selected)
    labels = field.original_content["labels"]
    labels = labels.reshape(*selected.shape, labels.shape[-1])
    valued = selected & (states == Tokens.valued)
    truth = torch.zeros(*selected.shape, leaf.max_vocab_size + 1, device=labels.device).scatter_(-1, labels, 1.0)[
        ..., :-1
    ]
    each = F.binary_cross_entropy_with_logits(outputs["value"], truth, reduction="none")
    content = masked_mean(each.mean(-1), valued)
    state = state_loss(outputs["state"], states, selected, embedder.counters["state"].weights())
    metrics = {
        "loss:state": state,
        "loss:content": content,
        "accuracy:state": accuracy(outputs["state"], states, selected),
        "accuracy:content": masked_mean(((outputs["value"] >= 0) == truth.bool()).float().mean(-1), valued),
    }
    return state + content, metrics


def emit(outputs: Tensors, leaf: Set, vocabulary: Vocabulary, embedder: SetEmbedder) -> Tensors:
    """Independent probabilities (N, P, n) of the labels known now."""
    return {"state": outputs["state"].softmax(-1), "probability": outputs["value"][..., : len(vocabulary)].sigmoid()}


def write(emitted: Arrays, leaf: Set, vocabulary: Vocabulary) -> dict[str, pa.Array]:
    """A map of label to probability for each slot, of all labels, or those of at least ``threshold``."""
    probability = emitted["probability"]
    n_rows, slots, n = probability.shape
    flat = probability.reshape(n_rows * slots, n)
    keep = np.full(flat.shape, True) if leaf.threshold is None else flat >= leaf.threshold
    offsets = np.concatenate([[0], np.cumsum(keep.sum(1))]).astype(np.int32)
    labels = np.broadcast_to(np.arange(n), flat.shape)[keep]
    maps = pa.MapArray.from_arrays(
        pa.array(offsets),
        vocabulary.take_text(labels) if n else pa.array([], pa.string()),
        pa.array(flat[keep], pa.float32()),
    )
    return {"state": state_array(emitted["state"]), "content": uniform(maps, (n_rows, slots))}


def output_type(leaf: Set, slots: int, vocabulary: Vocabulary) -> dict[str, pa.DataType]:
    return {"state": state_type(slots), "content": uniform_type(pa.map_(pa.string(), pa.float32()), (slots,))}


def retyped(leaf: Set, expected: Any, found: Any) -> Verdict:
    """Lists of any kind are read alike, as long as their labels are."""
    if family(expected) == family(found) == "list":
        return label(leaf, expected.value_type, found.value_type)
    if "list" in (family(expected), family(found)):
        return "error", "a set is a list of labels"
    return label(leaf, expected, found)


def recognise(column: Evidence, config: InferenceConfig) -> Proposal | None:
    """Lists of texts."""
    arrow_type: Any = column.type
    if family(arrow_type) != "list" or family(arrow_type.value_type) != "string":
        return None
    distinct = pc.count_distinct(column.values.flatten()).as_py()
    options = {"max_vocab_size": room_for(distinct, config.vocab_cap)}
    return Proposal(Fit.certain, f"lists of texts, {distinct} different", options)


register(
    FieldType(
        name="set", options=Set, encode=encode, empty=empty, embedder=SetEmbedder, decoder=LabelHeads,
        loss=loss, emit=emit, write=write, output_type=output_type, perturb=perturb,
        capacity=lambda leaf: leaf.max_vocab_size, labels=lambda values: split(values)[0], retyped=retyped,
        recognise=recognise,
    )
)  # fmt: skip
