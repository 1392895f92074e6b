"""The options of a small pipeline."""

from __future__ import annotations

from typing import Any


def options(name: str = "flights") -> dict[str, Any]:
    return {
        "name": name,
        "inputs": "shards",
        "partitions": {"kind": "daily", "start": "2013-01-20", "end": "2013-01-27"},
        "checkpoint": "model.ckpt",
        "output": "predictions",
        "warehouse": "w.duckdb",
        "table": "day_delay",
        "columns": {"id": "inputs.observation_id"},
    }
