"""Which rank this process is."""

from __future__ import annotations

import os
from typing import Any

from json2vec.errors import Json2VecError


def rank_and_world(trainer: Any = None) -> tuple[int, int]:
    """The global rank of this process and the number of ranks.

    A trainer that spans processes knows best. Otherwise the launcher's RANK and WORLD_SIZE count: under torchrun,
    ``Trainer(devices=1)`` runs every process on its own and calls each of them rank 0.

    Args:
        trainer: a Lightning trainer, or None.

    Raises:
        Json2VecError: RANK and WORLD_SIZE contradict each other.
    """
    if trainer is not None and trainer.world_size > 1:
        return trainer.global_rank, trainer.world_size
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return 0, 1
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if not 0 <= rank < world:
        raise Json2VecError(
            f"environment says RANK={rank} of WORLD_SIZE={world}; expected 0 <= RANK < WORLD_SIZE. "
            "Remedy: unset both, or start the ranks with torchrun"
        )
    return rank, world
