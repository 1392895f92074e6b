"""A whole pipeline run in a process that somebody is going to kill: ``pipeline_process.py ROOT CHECKPOINT``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


def station(root: str, checkpoint: str):
    import conftest as faults  # type: ignore[import-not-found]

    from j2v_dagster.launchers.torchrun import TorchrunLauncher

    return faults.Station(
        Path(root), Path(checkpoint), TorchrunLauncher(grace_s=2.0), {"preprocessor": "injected:hurt"}
    )


if __name__ == "__main__":
    station(*sys.argv[1:]).run()
