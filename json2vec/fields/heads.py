"""The heads of fields whose content is labels of a vocabulary.

Legend: N rows, P slots of a row, C d_model, V max_vocab_size.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from json2vec.enums import Tokens
from json2vec.fields.registry import Shape, Tensors


class HasVocabulary(Protocol):
    """Options with a vocabulary."""

    max_vocab_size: int


class LabelHeads(nn.Module):
    """One Lin for the state, one with a logit for each of V labels."""

    def __init__(self, leaf: HasVocabulary, shape: Shape) -> None:
        super().__init__()
        self.linears = nn.ModuleDict(
            {
                "state": nn.Linear(shape.d_model, len(Tokens)),
                "content": nn.Linear(shape.d_model, leaf.max_vocab_size),
            }
        )

    def forward(self, pooled: torch.Tensor) -> Tensors:
        """(N, P, C) -> state logits (N, P, 5), label logits (N, P, V)."""
        return {"state": self.linears["state"](pooled), "value": self.linears["content"](pooled)}
