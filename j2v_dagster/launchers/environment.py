"""The environment variables that ranks on this machine get."""

from __future__ import annotations

import os
import sys

_FOREIGN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


def rank_environment() -> dict[str, str]:
    """Our own environment, so that ranks import what this process imports, without what is not theirs.

    Left out are Dagster Pipes, which the ranks must not open, and the ranks of another launcher that started us.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DAGSTER_PIPES_", "TORCHELASTIC_")) and name not in _FOREIGN
    }
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": paths}
