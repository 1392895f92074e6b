"""Rotary attention, the encoder layer and learned-query pooling.

Legend: B sequences, L tokens, S memory tokens, M query rows, C d_model, H heads, K key/value heads, D = C / H.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from json2vec.nn.rotary import swap, tables, turn_back
from json2vec.nn.slots import Slots

SMALL = 9
"""Up to this many tokens attention is a few elementwise steps over rows, not many tiny matrix products."""
_ROWS_AT_ONCE = 256


def _mask(slots: Slots | None) -> torch.Tensor | None:
    """Which keys every query may see, (B, 1, 1, L)."""
    return None if slots is None else slots.valid_BL[:, None, None, :]


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

    def forward(self, x_BLC: torch.Tensor, slots: Slots | None = None) -> torch.Tensor:
        """Self-attention; (B, L, C)."""
        q, k, v = self._project(x_BLC, slots)
        return self.out_proj(self._mix(q, k, v, slots))

    def read(self, queries_MC: torch.Tensor, memory_BSC: torch.Tensor, slots: Slots | None = None) -> torch.Tensor:
        """Attention from queries that are the same for every sequence to a memory; (B, M, C).

        Instead of projecting every memory token to keys and values, the queries are taken through the key projection
        (one vector for each query, head and position), and only the mixed memory goes through the value projection.
        """
        (m, _), heads, dim = queries_MC.shape, self.n_heads, self.head_dim
        reader_SQC, offset_SQ = self.reader(queries_MC, memory_BSC.shape[1], slots and slots.items)
        scores_SBQ = torch.baddbmm(offset_SQ.unsqueeze(1), memory_BSC.transpose(0, 1), reader_SQC.transpose(1, 2))
        if slots is not None:
            scores_SBQ = scores_SBQ.masked_fill(~slots.valid_BL.t().unsqueeze(-1), -torch.inf)
        weights_BQS = scores_SBQ.softmax(0).permute(1, 2, 0)
        if self.training and self.dropout:
            weights_BQS = F.dropout(weights_BQS, self.dropout)
        mixed_BMHC = torch.bmm(weights_BQS, memory_BSC).unflatten(1, (m, heads))
        values = torch.einsum("bmhc,hdc->bmhd", mixed_BMHC, self.v_proj.weight.view(heads, dim, -1))
        share_BMH1 = weights_BQS.sum(-1).unflatten(1, (m, heads)).unsqueeze(-1)
        values = values + share_BMH1 * self.v_proj.bias.view(heads, dim)
        return self.out_proj(values.flatten(2))

    def reader(
        self, queries_MC: torch.Tensor, length: int, period: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What takes a memory token at position s to its scores, ready for softmax: (S, M H, C) and offset (S, M H).

        A query turned by m positions and a key turned by s have the product of the key as it is and the query turned
        by m - s.
        """
        heads, dim = self.n_heads, self.head_dim
        q_MHD = (F.linear(queries_MC, self.q_proj.weight, self.q_proj.bias) * dim**-0.5).unflatten(-1, (heads, dim))
        turned_SMHD = turn_back(q_MHD, length, period)
        key, bias = self.k_proj.weight.view(heads, dim, -1), self.k_proj.bias.view(heads, dim)
        return torch.einsum("smhd,hdc->smhc", turned_SMHD, key).flatten(1, 2), (turned_SMHD * bias).sum(-1).flatten(1)

    def read_each(
        self, queries_BMC: torch.Tensor, memory_BSC: torch.Tensor, slots: Slots | None = None
    ) -> torch.Tensor:
        """Attention from queries of each sequence's own to its memory; (B, M, C)."""
        q = self._turn(self.q_proj(queries_BMC), self.q_proj, queries_BMC)
        k = self._turn(self.k_proj(memory_BSC), self.k_proj, memory_BSC, slots and slots.items)
        v = self.v_proj(memory_BSC).unflatten(-1, (-1, self.head_dim))
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=_mask(slots), dropout_p=dropout)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _turn(
        self, projected_MC: torch.Tensor, projection: nn.Linear, inputs_MC: torch.Tensor, period: int | None = None
    ) -> torch.Tensor:
        """Turned features (..., M, heads, D) of an unturned projection."""
        heads = projection.out_features // self.head_dim
        cos, sin = tables(projected_MC.shape[-2], heads, self.head_dim, projected_MC.device, period)
        bias = swap(projection.bias.unsqueeze(-1), self.head_dim).squeeze(-1)
        swapped = F.linear(inputs_MC, swap(projection.weight, self.head_dim), bias)
        return torch.addcmul(projected_MC * cos, swapped, sin).unflatten(-1, (heads, self.head_dim))

    def _project(self, x_BLC: torch.Tensor, slots: Slots | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Turned queries (B, L, C), turned keys and values (B, L, K D), from one matrix product."""
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight])
        bias = torch.cat([self.q_proj.bias, self.k_proj.bias])
        swapped_bias = swap(bias.unsqueeze(-1), self.head_dim).squeeze(-1)
        qk = len(weight)
        out = F.linear(
            x_BLC,
            torch.cat([weight, swap(weight, self.head_dim), self.v_proj.weight]),
            torch.cat([bias, swapped_bias, self.v_proj.bias]),
        )
        heads = self.n_heads + self.n_kv_heads
        cos, sin = tables(x_BLC.shape[1], heads, self.head_dim, x_BLC.device, slots and slots.items)
        turned = torch.addcmul(out[..., :qk] * cos, out[..., qk : 2 * qk], sin)
        q, k = turned.split([self.q_proj.out_features, self.k_proj.out_features], dim=-1)
        return q, k, out[..., 2 * qk :]

    def _mix(
        self, q_BLC: torch.Tensor, k_BLG: torch.Tensor, v_BLG: torch.Tensor, slots: Slots | None
    ) -> torch.Tensor:
        """softmax(q k^T / sqrt(D)) v, heads side by side; (B, L, C)."""
        dropout = self.dropout if self.training else 0.0
        if q_BLC.shape[1] <= SMALL and q_BLC.device.type == "cpu" and not dropout and slots is None:
            return self._mix_small(q_BLC, k_BLG, v_BLG)
        q, k, v = (x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for x in (q_BLC, k_BLG, v_BLG))
        if self.n_kv_heads != self.n_heads:
            repeats = self.n_heads // self.n_kv_heads
            k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=_mask(slots), dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)

    def _mix_small(self, q_BLC: torch.Tensor, k_BLG: torch.Tensor, v_BLG: torch.Tensor) -> torch.Tensor:
        """The same with the rows innermost, so that elementwise steps run over hundreds of neighbouring numbers."""
        length, groups, repeats = q_BLC.shape[1], self.n_kv_heads, self.n_heads // self.n_kv_heads
        parts = []
        for q, k, v in zip(*(x.split(_ROWS_AT_ONCE) for x in (q_BLC, k_BLG, v_BLG)), strict=True):
            # (L, K, H / K, D, b) for queries, (L, K, 1, D, b) for keys and values.
            q, k, v = (
                x.flatten(1).t().contiguous().view(length, groups, per_group, self.head_dim, len(x))
                for x, per_group in ((q, repeats), (k, 1), (v, 1))
            )
            weights = ((q.unsqueeze(1) * k.unsqueeze(0)).sum(-2) * self.head_dim**-0.5).softmax(1)
            mixed = (weights.unsqueeze(-2) * v.unsqueeze(0)).sum(1)
            parts.append(mixed.flatten(0, 3).t())
        return torch.cat(parts).view(q_BLC.shape)


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

    def forward(self, x_BLC: torch.Tensor, slots: Slots | None = None) -> torch.Tensor:
        x_BLC = x_BLC + self.attention(self.attention_norm(x_BLC), slots)
        return x_BLC + self.ffn(self.ffn_norm(x_BLC))


class PoolBlock(nn.Module):
    """z + attn(LN1(z), memory), then z + ffn(LN2(z)); the memory is not normalised."""

    def __init__(self, d_model: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model, eps=1e-5)
        self.attention = Attention(d_model, n_heads, n_heads, dropout)
        self.ffn_norm = nn.LayerNorm(d_model, eps=1e-5)
        self.ffn = feed_forward(d_model, dropout)

    def forward(self, z: torch.Tensor, memory_BSC: torch.Tensor, slots: Slots | None = None) -> torch.Tensor:
        """From queries shared by all sequences (M, C), or of each its own (B, M, C), to (B, M, C)."""
        attention, normed = self.attention, self.attention_norm(z)
        if z.dim() == 3:
            z_BMC = z + attention.read_each(normed, memory_BSC, slots)
        elif len(z) * attention.n_heads <= z.shape[-1]:
            z_BMC = z + attention.read(normed, memory_BSC, slots)
        else:  # so many queries that projecting the memory is cheaper
            z_BMC = z + attention.read_each(normed.expand(len(memory_BSC), -1, -1), memory_BSC, slots)
        return z_BMC + self.ffn(self.ffn_norm(z_BMC))


class PoolLayers(NamedTuple):
    """What learned-query pooling is made of: M queries (M, C), the blocks they go through, and the norm after them."""

    queries: torch.Tensor
    blocks: Sequence[PoolBlock]
    norm: nn.Module

    def read(self, memory_BSC: torch.Tensor, slots: Slots | None = None) -> torch.Tensor:
        """The formula as it stands: (B, S, C) -> (B, M, C)."""
        z = self.queries
        for block in self.blocks:
            z = block(z, memory_BSC, slots)
        return self.norm(z)


def encode(
    layers: Iterable[EncoderLayer], pool: PoolLayers, tokens_BLC: torch.Tensor, slots: Slots | None = None
) -> torch.Tensor:
    """The formula as it stands: encoder layers, then pooling with one query; (B, L, C) -> (B, C)."""
    for layer in layers:
        tokens_BLC = layer(tokens_BLC, slots)
    return pool.read(tokens_BLC, slots).squeeze(1)
