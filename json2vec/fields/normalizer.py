"""Running mean and variance of a Number field."""

from __future__ import annotations

import torch
from torch import nn

EPSILON = 1e-5
LIMIT = 1e18
"""Larger values do not count: their squares would overflow float32, and the variance with them."""


class Normalizer(nn.Module):
    """Mean 0, variance 1 and count 0 to begin with; grows in training alone.

    Args:
        alpha: None accumulates over all batches (Chan, Golub and LeVeque 1979); else the weight of the newest batch
            in an exponential moving average.
    """

    mean: torch.Tensor
    var: torch.Tensor
    count: torch.Tensor

    def __init__(self, alpha: float | None) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("var", torch.ones(1))
        self.register_buffer("count", torch.zeros(1))

    @torch.no_grad()
    def update(self, values: torch.Tensor) -> None:
        """Take in the values (m,) of one batch; those past `LIMIT` are left out."""
        values = values[values.abs() <= LIMIT]
        m = values.numel()
        if m == 0:
            return
        batch_mean, batch_var = values.mean(), values.var(unbiased=False)
        if self.alpha is not None:
            self.mean.lerp_(batch_mean, self.alpha)
            self.var.lerp_(batch_var, self.alpha)
            return
        total = self.count + m
        delta = batch_mean - self.mean
        var = (self.var * self.count + batch_var * m + delta**2 * self.count * m / total) / total
        # Sums of large squares overflow; shares of them do not.
        old, new = self.count / total, m / total
        shares = self.var * old + batch_var * new + delta**2 * old * new
        self.var.copy_(torch.where(var.isfinite(), var, shares))
        self.mean += delta * m / total
        self.count.copy_(total)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return normalized(values, self.mean, self.var)

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        """Back to raw units."""
        return values * torch.sqrt(self.var + EPSILON) + self.mean


def normalized(values: torch.Tensor, mean: torch.Tensor, var: torch.Tensor) -> torch.Tensor:
    """(x - mean) / sqrt(var + 1e-5), in float32."""
    return (values - mean) / torch.sqrt(var + EPSILON)
