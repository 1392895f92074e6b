"""Looking up several small embedding tables at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

SMALL_TABLE = 16_384
"""Numbers in an embedding table above which its leaf goes alone: together, the tables are copied for every batch."""


def plain(module: nn.Module, module_class: type[nn.Module]) -> bool:
    """Whether ``module`` does what its class ``module_class`` does and nothing else.

    A subclass, such as an adapter, or a hook may do something else.
    """
    return type(module) is module_class and not hooked(module)


def hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def look_up(tables: Sequence[nn.Module], index_KB: torch.Tensor) -> torch.Tensor:
    """Row ``index_KB[k, b]`` of table k, tables K `nn.Embedding`s (V, C): (K, B, C)."""
    weights = [cast("nn.Embedding", table).weight for table in tables]
    first = torch.arange(len(weights), device=index_KB.device) * len(weights[0])
    return nn.functional.embedding(index_KB + first.unsqueeze(1), torch.cat(weights))
