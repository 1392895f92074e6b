"""Rotary attention, the encoder layer and learned-query pooling.

Legend: B sequences, L tokens, S memory tokens, M query rows, C d_model, H heads, K key/value heads, D = C / H.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

BASE = 10_000.0


def rotary_table(length: int, head_dim: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin, each (L, R / 2) with R = D rounded down to even: angles p * BASE^(-2i/R)."""
    even = head_dim // 2 * 2
    theta = BASE ** (-torch.arange(0, even, 2, dtype=torch.float32, device=device) / even)
    angles = torch.arange(length, dtype=torch.float32, device=device).unsqueeze(-1) * theta
    return angles.cos(), angles.sin()


def rotate(x_BHLD: torch.Tensor, cos_LR: torch.Tensor, sin_LR: torch.Tensor) -> torch.Tensor:
    """Rotate neighbouring features as pairs; an odd last feature stays (Su et al. 2021, RoFormer)."""
    even = 2 * cos_LR.shape[-1]
    a, b = x_BHLD[..., 0:even:2], x_BHLD[..., 1:even:2]
    turned = torch.stack([a * cos_LR - b * sin_LR, a * sin_LR + b * cos_LR], dim=-1).flatten(-2)
    return turned if even == x_BHLD.shape[-1] else torch.cat([turned, x_BHLD[..., even:]], dim=-1)


class Attention(nn.Module):
    """Multi-head attention with rotary positions and no mask: padded slots are tokens like any other."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = n_heads, n_kv_heads, d_model // n_heads
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, n_kv_heads * self.head_dim)
        self.v_proj = nn.Linear(d_model, n_kv_heads * self.head_dim)
        self.out_proj = nn.Linear(d_model, d_model)
        self.dropout = dropout

    def forward(self, queries_BMC: torch.Tensor, memory_BSC: torch.Tensor | None = None) -> torch.Tensor:
        """Attend from the queries to the memory, or to themselves; (B, M, C)."""
        if memory_BSC is None:
            q, k, v = self._project(queries_BMC, self.q_proj, self.k_proj, self.v_proj)
        else:
            (q,) = self._project(queries_BMC, self.q_proj)
            k, v = self._project(memory_BSC, self.k_proj, self.v_proj)
        q = self._heads(q, rotate_=True)
        k, v = self._heads(k, rotate_=True), self._heads(v, rotate_=False)
        if self.n_kv_heads != self.n_heads:
            repeats = self.n_heads // self.n_kv_heads
            k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        q = q.expand(k.shape[0], -1, -1, -1)
        dropout = self.dropout if self.training else 0.0
        mixed_BHMD = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.out_proj(mixed_BHMD.transpose(1, 2).flatten(2))

    @staticmethod
    def _project(x: torch.Tensor, *projections: nn.Linear) -> tuple[torch.Tensor, ...]:
        """Several projections of one input as one matrix product."""
        weight = torch.cat([p.weight for p in projections])
        bias = torch.cat([p.bias for p in projections])
        return F.linear(x, weight, bias).split([p.out_features for p in projections], dim=-1)

    def _heads(self, x_BLC: torch.Tensor, rotate_: bool) -> torch.Tensor:
        x_BHLD = x_BLC.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        return rotate(x_BHLD, *rotary_table(x_BLC.shape[1], self.head_dim, x_BLC.device)) if rotate_ else x_BHLD


def feed_forward(d_model: int, dropout: float) -> nn.Sequential:
    """Lin(C -> 4C), GELU, Lin(4C -> C); the places of the parameters, 0 and 3, are part of the checkpoint format."""
    return nn.Sequential(
        nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * d_model, d_model),
        nn.Dropout(dropout),
    )  # fmt: skip


class EncoderLayer(nn.Module):
    """x + attn(LN1(x)), then x + ffn(LN2(x))."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model, eps=1e-5)
        self.attention = Attention(d_model, n_heads, n_kv_heads, dropout)
        self.ffn_norm = nn.LayerNorm(d_model, eps=1e-5)
        self.ffn = feed_forward(d_model, dropout)

    def forward(self, x_BLC: torch.Tensor) -> torch.Tensor:
        x_BLC = x_BLC + self.attention(self.attention_norm(x_BLC))
        return x_BLC + self.ffn(self.ffn_norm(x_BLC))


class PoolBlock(nn.Module):
    """z + attn(LN1(z), memory), then z + ffn(LN2(z)); the memory is not normalised."""

    def __init__(self, d_model: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model, eps=1e-5)
        self.attention = Attention(d_model, n_heads, n_heads, dropout)
        self.ffn_norm = nn.LayerNorm(d_model, eps=1e-5)
        self.ffn = feed_forward(d_model, dropout)

    def forward(self, z_BMC: torch.Tensor, memory_BSC: torch.Tensor) -> torch.Tensor:
        z_BMC = z_BMC + self.attention(self.attention_norm(z_BMC), memory_BSC)
        return z_BMC + self.ffn(self.ffn_norm(z_BMC))


class Pool(nn.Module):
    """Learned queries read a memory: (B, S, C) -> (B, M, C). The queries are the same for every row."""

    def __init__(self, n_queries: int, d_model: int, n_heads: int, n_blocks: int, dropout: float) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(n_queries, d_model))
        self.blocks = nn.ModuleList(PoolBlock(d_model, n_heads, dropout) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(d_model, eps=1e-5)
        nn.init.normal_(self.queries, std=0.01)

    def forward(self, memory_BSC: torch.Tensor) -> torch.Tensor:
        z_BMC = self.queries.unsqueeze(0)
        for block in self.blocks:
            z_BMC = block(z_BMC, memory_BSC)
        return self.norm(z_BMC)


class ArrayEncoder(nn.Module):
    """Encoder layers, then pooling with one query: (B, L, C) -> (B, C)."""

    def __init__(self, d_model: int, n_heads: int, attention: str, n_layers: int, n_linear: int, dropout: float) -> None:
        super().__init__()
        n_kv_heads = {"mha": n_heads, "gqa": max(1, n_heads // 2), "mqa": 1, "none": n_heads}[attention]
        layers = 0 if attention == "none" else n_layers
        self.encoder = nn.ModuleList(EncoderLayer(d_model, n_heads, n_kv_heads, dropout) for _ in range(layers))
        self.pool = Pool(1, d_model, n_heads, n_linear, dropout)

    def forward(self, tokens_BLC: torch.Tensor) -> torch.Tensor:
        for layer in self.encoder:
            tokens_BLC = layer(tokens_BLC)
        return self.pool(tokens_BLC).squeeze(1)
