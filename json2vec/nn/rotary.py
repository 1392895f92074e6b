"""Rotary positions (Su et al. 2021, RoFormer): neighbouring features are a pair, turned by an angle that grows with
the position.

Turning pairs in place means strided reads, which cost more than the matrix products around them. Instead the pair's
other half comes out of the projection itself: with ``x' `` the features of x swapped within each pair and the first of
them negated, the turned x is ``x cos + x' sin``, and ``x'`` is one more projection by permuted, signed weights.
"""

from __future__ import annotations

import functools

import torch

BASE = 10_000.0


@functools.lru_cache(maxsize=256)
def tables(
    length: int, heads: int, head_dim: int, device: torch.device, period: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin, each (length, heads * head_dim), float32; an odd last feature of a head is not turned.

    Positions are 0 ... length - 1; with a ``period`` they begin at 0 again after so many tokens.

    Angles: p * BASE^(-2i / R) with R = head_dim rounded down to even.
    """
    even = head_dim // 2 * 2
    # Outside inference mode: a cached inference tensor could not be used in training later.
    with torch.inference_mode(False), torch.no_grad():
        theta = BASE ** (-torch.arange(0, even, 2, dtype=torch.float32, device=device) / even)
        angles = _positions(length, period, device).unsqueeze(-1) * theta
        angles = torch.nn.functional.pad(angles.repeat_interleave(2, dim=-1), (0, head_dim - even)).repeat(1, heads)
        return angles.cos(), angles.sin()


@functools.lru_cache(maxsize=256)
def turns(
    length: int, head_dim: int, device: torch.device, period: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of each pair, (head_dim // 2, length), float32: `tables` with the tokens innermost."""
    cos, sin = tables(length, 1, head_dim, device, period)
    even = head_dim // 2 * 2
    with torch.inference_mode(False), torch.no_grad():
        return cos[:, 0:even:2].t().contiguous(), sin[:, 0:even:2].t().contiguous()


def turn_back(queries_MHD: torch.Tensor, length: int, period: int | None = None) -> torch.Tensor:
    """Each query m turned by m - s positions, s those of `tables`: (M, H, D) -> (length, M, H, D)."""
    m, _, dim = queries_MHD.shape
    cos, sin = _differences(m, length, dim, queries_MHD.device, period)
    even = dim // 2 * 2
    a, b = queries_MHD[..., 0:even:2], queries_MHD[..., 1:even:2]
    turned = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
    if even == dim:
        return turned
    return torch.cat([turned, queries_MHD[..., even:].expand(length, -1, -1, -1)], dim=-1)


@functools.lru_cache(maxsize=256)
def _differences(
    m: int, length: int, dim: int, device: torch.device, period: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of the angles of position m - s, each (length, m, 1, dim // 2)."""
    even = dim // 2 * 2
    with torch.inference_mode(False), torch.no_grad():
        theta = BASE ** (-torch.arange(0, even, 2, dtype=torch.float32, device=device) / even)
        places = torch.arange(m, dtype=torch.float32, device=device) - _positions(length, period, device).unsqueeze(-1)
        angles = places[:, :, None, None] * theta
        return angles.cos(), angles.sin()


def _positions(length: int, period: int | None, device: torch.device) -> torch.Tensor:
    places = torch.arange(length, dtype=torch.float32, device=device)
    return places if period is None else places % period


def swap(weights: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows (features) of a projection swapped within each pair of a head, the first of a pair negated."""
    even = head_dim // 2 * 2
    heads = weights.unflatten(0, (-1, head_dim))
    pairs = heads[:, :even].unflatten(1, (-1, 2))
    swapped = torch.stack([-pairs[:, :, 1], pairs[:, :, 0]], dim=2).flatten(1, 2)
    return torch.cat([swapped, torch.zeros_like(heads[:, even:])], dim=1).flatten(0, 1)


def turn(rows: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions on rows (..., D, L) of features; cos and sin (D // 2, L)."""
    even = 2 * len(cos)
    a, b = rows[..., 0:even:2, :], rows[..., 1:even:2, :]
    turned = torch.empty_like(rows)
    torch.mul(a, cos, out=turned[..., 0:even:2, :]).addcmul_(b, sin, value=-1)
    torch.mul(b, cos, out=turned[..., 1:even:2, :]).addcmul_(a, sin)
    if even < rows.shape[-2]:
        turned[..., even:, :] = rows[..., even:, :]
    return turned
