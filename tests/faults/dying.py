"""A postprocessor that kills its rank at a chosen batch. It runs in the writer's thread, so those before are written.

The fault is armed with ``die RANK BATCH OTHERS``: on rank RANK, at batch BATCH, once the ranks named in OTHERS
(``0,2``) have left their markers in the newest attempt. With a fifth word, ``once``, it disarms itself.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pyarrow as pa

import json2vec as j2v


@j2v.postprocess(columnar=True)
def die(context: dict, predictions: pa.StructArray) -> dict[str, pa.Array]:
    """Keep the predictions as they are."""
    fault = Path(os.environ["J2V_FAULT"])
    if fault.exists() and "RANK" in os.environ:
        _, rank, batch, others, *once = fault.read_text().split()
        if os.environ["RANK"] == rank and context.get("batch_idx") == int(batch):
            _die_after(others, fault, once=bool(once))
    return {field.name: predictions.field(field.name) for field in predictions.type}


def _die_after(others: str, fault: Path, *, once: bool) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        attempt = sorted(fault.parent.glob("output/*/attempts/*"))[-1]
        if all((attempt / f"rank-{other}.json").exists() for other in others.split(",")):
            if once:
                fault.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
    raise TimeoutError(f"ranks {others} did not end")
