"""The encoder of an array and learned-query pooling; they pick the formulas or, on a CPU, their faster rearrangement.

Legend: B sequences, L tokens, S memory tokens, M query rows, C d_model.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from json2vec.nn import cpu
from json2vec.nn.attention import EncoderLayer, PoolBlock, PoolLayers, encode
from json2vec.nn.slots import Slots


class Pool(nn.Module):
    """Learned queries read a memory: (B, S, C) -> (B, M, C). The queries are the same for every row."""

    def __init__(self, n_queries: int, d_model: int, n_heads: int, n_blocks: int, dropout: float) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(n_queries, d_model))
        self.blocks = nn.ModuleList(PoolBlock(d_model, n_heads, dropout) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(d_model, eps=1e-5)
        nn.init.normal_(self.queries, std=0.01)

    def forward(self, memory_BSC: torch.Tensor) -> torch.Tensor:
        return cpu.run_pool(self.layers, memory_BSC) if cpu.applies(self, memory_BSC) else self.layers.read(memory_BSC)

    @property
    def layers(self) -> PoolLayers:
        """The parts that the formula reads."""
        return PoolLayers(self.queries, [cast("PoolBlock", block) for block in self.blocks], self.norm)


class ArrayEncoder(nn.Module):
    """Encoder layers, then pooling with one query: (B, L, C) -> (B, C)."""

    def __init__(
        self, d_model: int, n_heads: int, attention: str, n_layers: int, n_linear: int, dropout: float
    ) -> None:
        super().__init__()
        n_kv_heads = {"mha": n_heads, "gqa": max(1, n_heads // 2), "mqa": 1, "none": n_heads}[attention]
        layers = 0 if attention == "none" else n_layers
        self.encoder = nn.ModuleList(EncoderLayer(d_model, n_heads, n_kv_heads, dropout) for _ in range(layers))
        self.pool = Pool(1, d_model, n_heads, n_linear, dropout)

    def forward(self, tokens_BLC: torch.Tensor, slots: Slots | None = None) -> torch.Tensor:
        """One vector a sequence; ``slots`` where empty ones are left out."""
        if not cpu.applies(self, tokens_BLC):
            return self.by_the_formulas(tokens_BLC, slots)
        if slots is None:
            return cpu.run_encoder(self.layers, self.pool.layers, tokens_BLC)
        return cpu.run_by_length(self.layers, self.pool.layers, tokens_BLC, slots)

    @property
    def layers(self) -> list[EncoderLayer]:
        """The layers below the pooling."""
        return [cast("EncoderLayer", layer) for layer in self.encoder]

    def by_the_formulas(self, tokens_BLC: torch.Tensor, slots: Slots | None) -> torch.Tensor:
        """The formula as it stands; `forward` takes the faster way where there is one."""
        return encode(self.layers, self.pool.layers, tokens_BLC, slots)
