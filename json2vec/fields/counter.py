"""Class counts and the loss weights that follow from them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Counter(nn.Module):
    """How often each of ``classes`` classes was seen in training, starting at 1."""

    counts: torch.Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.ones(classes, dtype=torch.int64))

    def update(self, indices: torch.Tensor) -> None:
        """Add the classes of one batch."""
        self.counts += torch.bincount(indices.reshape(-1), minlength=len(self.counts))

    def weights(self) -> torch.Tensor:
        """float32 (classes,): w_i = c_i^(-1/2) (sum c) / (sum c^(1/2)), network.md section 7."""
        counts = self.counts.float()
        return counts.rsqrt() * counts.sum() / counts.sqrt().sum()


class Counters(nn.Module):
    """Counters by name, each with its number of classes."""

    def __init__(self, **classes: int) -> None:
        super().__init__()
        for name, number in classes.items():
            self.add_module(name, Counter(number))

    def __getitem__(self, name: str) -> Counter:
        counter = self.get_submodule(name)
        assert isinstance(counter, Counter)
        return counter


def masked_mean(values: torch.Tensor, selected: torch.Tensor) -> torch.Tensor:
    """Plain mean of ``values`` where ``selected``; 0 where nothing is."""
    return (values * selected).sum() / selected.sum().clamp(min=1)


def state_loss(
    logits: torch.Tensor, states: torch.Tensor, selected: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over the selected slots of the (weighted) cross entropy of the state; logits (N, P, 5), states (N, P)."""
    losses = F.cross_entropy(logits.flatten(0, 1), states.flatten(), weight=weights, reduction="none")
    return masked_mean(losses, selected.flatten())


def accuracy(logits: torch.Tensor, classes: torch.Tensor, selected: torch.Tensor) -> torch.Tensor:
    """Share of the selected slots whose best class is the right one."""
    return masked_mean((logits.argmax(-1) == classes).float(), selected)
