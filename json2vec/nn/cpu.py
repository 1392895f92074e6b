"""The arithmetic of `json2vec.nn.attention` for prediction on a CPU: same numbers, other order of the work.

Weights are brought into the form that the steps below want once for a whole batch (`prepare_encoder`, `prepare_pool`);
then the sequences go through all layers in chunks small enough to stay in the processor's second-level cache.

Legend: B sequences, n sequences of a chunk, L tokens, S memory tokens, M query rows, Q = M H, C d_model, H heads, K
key/value heads, D = C / H.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from json2vec.nn.attention import SMALL, Attention, EncoderLayer, PoolLayers, encode
from json2vec.nn.rotary import turn, turns
from json2vec.nn.slots import Slots

Step = Callable[[torch.Tensor], torch.Tensor]
Residual = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes the normed tokens and the tokens to add to."""

_CHUNK_FLOATS = 4096 * 32
"""Features (n L C) of a chunk: its widest tensor, 4 n L C floats, has 2 MiB."""
_SCORE_FLOATS = 3072 * 256
"""Attention scores (n H L L) of a chunk: 3 MiB."""
_LARGEST_POWER = 64.0
"""Scores up to 2^64 and down to 2^-64 can be summed in float32 without subtracting their maximum first."""


def applies(module: torch.nn.Module, tensor: torch.Tensor) -> bool:
    """Whether this path is for the call at hand: prediction, float32, on a CPU, and nothing casts on the way."""
    return (
        tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and not module.training
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and len(tensor) > 0
    )


def run_by_length(
    layers: Sequence[EncoderLayer], pool: PoolLayers, tokens_BLC: torch.Tensor, slots: Slots
) -> torch.Tensor:
    """`run_encoder` over the valid tokens alone, for all sequences with equally many items at a time; (B, C).

    Where the children of an array do not have the same items, the formulas with a mask have to do.
    """
    (b, _, c), items = tokens_BLC.shape, slots.items
    valid = slots.valid_BL.view(b, -1, items)
    counts = valid[:, 0].sum(1)
    places = torch.arange(items, device=counts.device)
    regular = (valid == (places < counts[:, None])[:, None]).flatten(1).all(1)
    by_child, pooled = tokens_BLC.view(b, -1, items, c), tokens_BLC.new_empty(b, c)
    for count in counts[regular].unique().tolist():
        rows = ((counts == count) & regular).nonzero().squeeze(1)
        pooled[rows] = run_encoder(layers, pool, by_child[rows, :, :count].flatten(1, 2), count)
    if not regular.all():
        rows = (~regular).nonzero().squeeze(1)
        pooled[rows] = encode(layers, pool, tokens_BLC[rows], slots.rows(rows))
    return pooled


def run_encoder(
    layers: Sequence[EncoderLayer], pool: PoolLayers, tokens_BLC: torch.Tensor, period: int | None = None
) -> torch.Tensor:
    """Encoder layers and pooling with one query, chunk by chunk; (B, L, C) -> (B, C)."""
    b, length, c = tokens_BLC.shape
    steps = [prepare_layer(layer, length, period) for layer in layers]
    steps.append(prepare_pool(pool, length, period))
    heads = max((layer.attention.n_heads for layer in layers), default=1)
    rows = max(1, min(_CHUNK_FLOATS // (length * c), _SCORE_FLOATS // (heads * length * length)))
    parts = []
    for chunk in tokens_BLC.split(rows):
        for step in steps:
            chunk = step(chunk)
        parts.append(chunk)
    return (torch.cat(parts) if len(parts) != 1 else parts[0]).view(b, c)


def run_pool(pool: PoolLayers, memory_BSC: torch.Tensor) -> torch.Tensor:
    """Learned queries over a memory, (B, S, C) -> (B, M, C)."""
    return prepare_pool(pool, memory_BSC.shape[1])(memory_BSC)


def prepare_layer(layer: EncoderLayer, length: int, period: int | None = None) -> Step:
    """One encoder layer over sequences of ``length`` tokens; (n, L, C) -> (n, L, C)."""
    attend = (_prepare_small if length <= SMALL else _prepare_attention)(layer.attention, length, period)
    norm, ffn_norm = layer.attention_norm, layer.ffn_norm
    forward = _prepare_ffn(layer.ffn)

    def step(x_nLC: torch.Tensor) -> torch.Tensor:
        x_nLC = attend(norm(x_nLC), x_nLC)
        return forward(ffn_norm(x_nLC), x_nLC)

    return step


def prepare_pool(pool: PoolLayers, length: int, period: int | None = None) -> Step:
    """Learned queries over a memory of ``length`` tokens; (n, S, C) -> (n, M, C)."""
    queries, first, further = pool.queries, pool.blocks[0], pool.blocks[1:]

    def slots_of(memory_nSC: torch.Tensor) -> Slots | None:
        return None if period is None else Slots.everywhere(len(memory_nSC), length, period)

    m, heads = len(queries), first.attention.n_heads
    if m * heads > queries.shape[-1]:  # so many queries that projecting the memory is cheaper
        return lambda memory_nSC: pool.read(memory_nSC, slots_of(memory_nSC))
    read = _prepare_read(first.attention, queries, first.attention_norm(queries), length, period)
    forward = _prepare_ffn(first.ffn)

    def step(memory_nSC: torch.Tensor) -> torch.Tensor:
        z_nMC = read(memory_nSC)
        z_nMC = forward(first.ffn_norm(z_nMC), z_nMC)
        for block in further:
            z_nMC = block(z_nMC, memory_nSC, slots_of(memory_nSC))
        return pool.norm(z_nMC)

    return step


def _prepare_ffn(ffn: torch.nn.Sequential) -> Residual:
    widen, narrow = ffn[0], ffn[3]

    def step(normed: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return narrow(F.gelu(widen(normed))).add_(residual)

    return step


def _prepare_attention(attention: Attention, length: int, period: int | None) -> Residual:
    """Attention by batched matrix products with the tokens innermost, where no operand has to be copied.

    Features lie in rows of L tokens, so rotary pairs are neighbouring rows. Scores are (key, query), in powers of two:
    exp2 costs half of exp. They are normalised after mixing, and their maximum is subtracted only where it is large.
    """
    heads, groups, dim = attention.n_heads, attention.n_kv_heads, attention.head_dim
    scale = dim**-0.5 / math.log(2)
    q_weight, q_bias = attention.q_proj.weight * scale, (attention.q_proj.bias * scale).unsqueeze(1)
    k_weight, k_bias = attention.k_proj.weight, attention.k_proj.bias.unsqueeze(1)
    v_weight, v_bias = attention.v_proj.weight, attention.v_proj.bias.unsqueeze(1)
    out_weight, out_bias = attention.out_proj.weight.t(), attention.out_proj.bias
    cos, sin = turns(length, dim, q_weight.device, period)

    def by_head(rows: torch.Tensor) -> torch.Tensor:
        """(n, K D, L) -> (n H, D, L): query head h reads key/value head floor(h / (H / K))."""
        if groups == heads:
            return rows.view(-1, dim, length)
        shape = (len(rows), groups, heads // groups, dim, length)
        return rows.view(len(rows), groups, 1, dim, length).expand(shape).reshape(-1, dim, length)

    def step(normed_nLC: torch.Tensor, residual_nLC: torch.Tensor) -> torch.Tensor:
        n, rows = len(normed_nLC), normed_nLC.transpose(1, 2)
        q = turn(torch.baddbmm(q_bias, q_weight.expand(n, -1, -1), rows).view(-1, dim, length), cos, sin)
        k = turn(torch.baddbmm(k_bias, k_weight.expand(n, -1, -1), rows).view(-1, dim, length), cos, sin)
        k = by_head(k.view(n, groups * dim, length))
        v = by_head(torch.baddbmm(v_bias, v_weight.expand(n, -1, -1), rows))
        scores = torch.bmm(k.transpose(1, 2), q)
        least, most = torch.aminmax(scores)
        if not (least >= -_LARGEST_POWER and most <= _LARGEST_POWER):  # NaN too
            scores -= scores.amax(1, keepdim=True)
        scores.exp2_()
        mixed = torch.bmm(v, scores).div_(scores.sum(1, keepdim=True)).view(n, heads * dim, length)
        return torch.baddbmm(residual_nLC, mixed.transpose(1, 2), out_weight.expand(n, -1, -1)).add_(out_bias)

    return step


def _prepare_small(attention: Attention, length: int, period: int | None) -> Residual:
    """Attention over few tokens: sequences innermost, so that every step runs over hundreds of neighbouring numbers."""
    heads, groups, dim = attention.n_heads, attention.n_kv_heads, attention.head_dim
    repeats, scale = heads // groups, dim**-0.5
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    weight = torch.cat([projections[0].weight * scale, *(projection.weight for projection in projections[1:])])
    bias = torch.cat([projections[0].bias * scale, *(projection.bias for projection in projections[1:])])
    turned = (heads + groups) * dim
    cos, sin = (table.t()[:, None, :, None] for table in turns(length, dim, weight.device, period))  # (L, 1, D // 2, 1)

    def step(normed_nLC: torch.Tensor, residual_nLC: torch.Tensor) -> torch.Tensor:
        n = len(normed_nLC)
        rows = F.linear(normed_nLC, weight, bias).flatten(1).t().contiguous().view(length, -1, n)
        even, odd = dim // 2 * 2, dim % 2
        both = rows[:, :turned].view(length, heads + groups, dim, n)
        a, b = both[:, :, 0:even:2], both[:, :, 1:even:2]
        qk = rows.new_empty(length, heads + groups, dim, n)
        torch.mul(a, cos, out=qk[:, :, 0:even:2]).addcmul_(b, sin, value=-1)
        torch.mul(b, cos, out=qk[:, :, 1:even:2]).addcmul_(a, sin)
        if odd:
            qk[:, :, even:] = both[:, :, even:]
        # (i, 1, K, r, n) for queries, (1, j, K, 1, n) for keys, a feature at a time.
        q = qk[:, :heads].view(length, 1, groups, repeats, dim, n)
        k = qk[:, heads:].view(1, length, groups, 1, dim, n)
        v = rows[:, turned:].view(length, groups, 1, dim, n)
        scores = q[..., 0, :] * k[..., 0, :]
        for d in range(1, dim):
            scores.addcmul_(q[..., d, :], k[..., d, :])
        weights = scores.softmax(1).unsqueeze(-2)  # (i, j, K, r, 1, n)
        mixed = weights[:, 0] * v[0]
        for j in range(1, length):
            mixed.addcmul_(weights[:, j], v[j])
        mixed_nLC = mixed.view(-1, n).t().contiguous().view(residual_nLC.shape)
        return attention.out_proj(mixed_nLC).add_(residual_nLC)

    return step


def _prepare_read(
    attention: Attention, residual_MC: torch.Tensor, queries_MC: torch.Tensor, length: int, period: int | None
) -> Step:
    """The residual plus what queries that are the same for every sequence read from its memory; (n, S, C) -> (n, M, C).

    As `Attention.read`; here value and output projection are one matrix for each head, too, since the weights of a
    query sum to 1.
    """
    (m, c), heads, dim = queries_MC.shape, attention.n_heads, attention.head_dim
    reader_SQC, offset_SQ = attention.reader(queries_MC, length, period)
    reader_SCQ, offset_S1Q = reader_SQC.transpose(1, 2).contiguous(), offset_SQ.unsqueeze(1)
    values = attention.v_proj.weight.view(heads, dim, c)
    into = attention.out_proj.weight.view(c, heads, dim)
    weight = torch.einsum("ohd,hdc->ohc", into, values).flatten(1)  # (C, H C)
    bias = F.linear(attention.v_proj.bias, attention.out_proj.weight, attention.out_proj.bias)
    base_MC = residual_MC + bias

    def step(memory_nSC: torch.Tensor) -> torch.Tensor:
        n = len(memory_nSC)
        scores_SnQ = torch.baddbmm(offset_S1Q, memory_nSC.transpose(0, 1), reader_SCQ)
        weights_nQS = scores_SnQ.softmax(0).permute(1, 2, 0)
        mixed = torch.bmm(weights_nQS, memory_nSC).view(n, m, heads * c)
        return F.linear(mixed, weight, base_MC[0]) if m == 1 else F.linear(mixed, weight) + base_MC

    return step
