"""What the two sides share: timing, and the loop that takes commands from run.py.

A side is a child process. It reads one JSON command a line from stdin and answers one JSON line; whatever libraries
print goes to stderr, so it cannot get between.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import common


def timed(action: Callable[[], Any]) -> dict[str, float]:
    """Run `action` once: wall seconds, and processor seconds of all threads of this process."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    action()
    return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def repeat_for(action: Callable[[], int], seconds: float) -> dict[str, float]:
    """Repeat `action`, which returns how many rows it did, until `seconds` have passed; once before, untimed."""
    action()
    rows = 0
    cpu, start = time.process_time(), time.perf_counter()
    while time.perf_counter() - start < seconds:
        rows += action()
    elapsed = time.perf_counter() - start
    return {"rows_per_s": rows / elapsed, "rows_per_cpu_s": rows / (time.process_time() - cpu)}


def matrix_product_gflops(size: int = 512, seconds: float = 0.3) -> float:
    """float32 matrix product, GFLOP/s: shows that both sides' torch builds do the same on this machine."""
    import torch

    left, right = torch.randn(size, size), torch.randn(size, size)
    products = repeat_for(lambda: (torch.mm(left, right), 1)[1], seconds)
    return products["rows_per_s"] * 2 * size**3 / 1e9


def serve(commands: dict[str, Callable[..., Any]], about: dict[str, Any]) -> None:
    """Answer commands `{"do": NAME, **arguments}` until stdin ends; the first line out is `about`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer(about)
    for line in sys.stdin:
        command = json.loads(line)
        result = commands[command.pop("do")](**command)
        answer({"result": result, "peak_rss_mib": common.peak_rss_mib()})
