"""Optimizer factories as plain values, which a checkpoint keeps by import path and arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from json2vec.errors import SchemaError
from json2vec.model.named_functions import Factory

if TYPE_CHECKING:
    import torch
    from torch import nn


def factory(path: str, **kwargs: Any) -> Factory:
    """A factory of your own: ``factory("my_project.train:make_optimizer", learning_rate=1e-3)``.

    Args:
        path: ``module:function``; called with the model (a scheduler's with model and optimizer) and ``kwargs``.
        kwargs: arguments for the function: plain values, which a checkpoint can keep.

    Raises:
        SchemaError: a malformed path, or arguments that could not be saved.
    """
    return Factory(path, kwargs)


def adamw(
    learning_rate: float,
    *,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    decay_bias: bool = False,
    decay_1d: bool = False,
    no_decay_name_fragments: Sequence[str] = ("norm",),
) -> Factory:
    """AdamW with two parameter groups, one of them without weight decay.

    Args:
        learning_rate: the step size, > 0.
        weight_decay: the weight decay of the group that decays, >= 0.
        betas: decay rates of the two moments, each in [0, 1).
        eps: added to the denominator, > 0.
        decay_bias: let biases decay.
        decay_1d: let parameters of one dimension decay.
        no_decay_name_fragments: parameters whose lower-case name holds one of these never decay.

    Returns:
        a `Factory` taking the model; a saved model that was given it comes back with it.

    Raises:
        SchemaError: a number out of its range.
    """
    first, second = betas
    if not (learning_rate > 0 and weight_decay >= 0 and eps > 0 and 0 <= first < 1 and 0 <= second < 1):
        raise SchemaError(
            "adamw: expected learning_rate > 0, weight_decay >= 0, eps > 0 and betas in [0, 1); got "
            f"{learning_rate}, {weight_decay}, {eps}, {tuple(betas)}"
        )
    if not math.isfinite(learning_rate):
        raise SchemaError(f"adamw: learning_rate must be finite; got {learning_rate}")
    return Factory(
        f"{__name__}:build_adamw",
        {
            "learning_rate": float(learning_rate), "weight_decay": float(weight_decay), "betas": [first, second],
            "eps": float(eps), "decay_bias": bool(decay_bias), "decay_1d": bool(decay_1d),
            "no_decay_name_fragments": [str(fragment) for fragment in no_decay_name_fragments],
        },
    )  # fmt: skip


def build_adamw(
    module: nn.Module, *, learning_rate: float, weight_decay: float, betas: Sequence[float], eps: float,
    decay_bias: bool, decay_1d: bool, no_decay_name_fragments: Sequence[str],
) -> torch.optim.AdamW:  # fmt: skip
    """What `adamw` promises, made for one module."""
    import torch

    decaying, others = [], []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        bias = name.rpartition(".")[2] == "bias"
        kept = any(fragment.lower() in name.lower() for fragment in no_decay_name_fragments)
        # A bias has one dimension too; its own switch decides about it.
        decays = not kept and (decay_bias if bias else decay_1d or parameter.dim() > 1)
        (decaying if decays else others).append(parameter)
    groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=learning_rate, betas=(betas[0], betas[1]), eps=eps
    )
