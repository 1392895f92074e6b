"""From encoded leaves to tokens. In prediction small leaves of a kind go through their embedders together.

A batch of 512 rows with 40 numbers starts 500 operations of a few microseconds, most of which is starting them.

Legend: N rows, B sequences of an array, L slots, C d_model, K leaves.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import nn

from json2vec.address import Address
from json2vec.batch import FieldBatch
from json2vec.nn.tables import hooked

Tensors = dict[str, torch.Tensor]

SMALL = 4096
"""On a CPU leaves with so many values in a batch go alone: starting an operation no longer counts."""


class EmbedsTogether(Protocol):
    """An embedder that knows how to do the work of several at once; for others each does its own."""

    def alike(self) -> Hashable | None:
        """Embedders of one class with equal answers can work together; None where this one works alone."""
        ...

    @staticmethod
    def embed_together(embedders: Sequence[nn.Module], state_KB: torch.Tensor, content: Tensors) -> torch.Tensor:
        """What ``embedder(state, content)`` gives for each of K alike embedders, tokens (K, B, C).

        Args:
            embedders: K embedders whose `alike` gives the same answer.
            state_KB: the states of all slots in a row, B times L of them.
            content: tensors that begin with the shape of the state.
        """
        ...


def embed_leaves(
    embedders: Mapping[Address, nn.Module], fields: Mapping[Address, FieldBatch]
) -> dict[Address, torch.Tensor]:
    """Tokens (B, L, C) of every leaf in ``embedders``."""
    tokens: dict[Address, torch.Tensor] = {}
    for group in _groups(embedders, fields):
        modules = [embedders[address] for address in group]
        states, contents = zip(*(_by_sequence(fields[address]) for address in group), strict=True)
        if len(group) == 1:
            tokens[group[0]] = modules[0](states[0], contents[0])
            continue
        content = {key: _stack([tensors[key] for tensors in contents]) for key in contents[0]}
        embedded = cast("EmbedsTogether", modules[0]).embed_together(modules, _stack(states), content)
        tokens |= zip(group, embedded.unflatten(1, states[0].shape), strict=True)
    return tokens


def _groups(embedders: Mapping[Address, nn.Module], fields: Mapping[Address, FieldBatch]) -> Iterator[list[Address]]:
    """The leaves, those that can be embedded together in one list."""
    groups: dict[Hashable, list[Address]] = {}
    for address, module in embedders.items():
        state, content = fields[address].state, fields[address].content
        together = (
            "embed_together" in vars(type(module))  # not of a parent, whose forward may be another
            and not (module.training or torch.is_grad_enabled())
            and not hooked(module)
            and (state.numel() < SMALL or state.device.type != "cpu")
        )
        alike = cast("EmbedsTogether", module).alike() if together else None
        key: Hashable = address
        if alike is not None:
            key = type(module), alike, state.shape, tuple(value.shape for value in content.values())
        groups.setdefault(key, []).append(address)
    yield from groups.values()


def _by_sequence(field: FieldBatch) -> tuple[torch.Tensor, Tensors]:
    """State (N, 1, L1, ..., L) as (B, L), and the content alike."""
    shape = field.state.shape
    lead = (math.prod(shape[:-1]), shape[-1])
    content = {key: value.reshape(*lead, *value.shape[len(shape) :]) for key, value in field.content.items()}
    return field.state.reshape(lead), content


def _stack(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """K times (B, L, ...) as (K, B L, ...)."""
    return torch.stack(list(tensors)).flatten(1, 2)


