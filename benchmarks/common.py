"""What every benchmark needs: one thread, a description of the machine, medians, a table.

`limit_threads()` has to run before numpy, polars, pyarrow or torch are imported: they read the environment once.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
# Old-OpenBLAS work-arounds that some hosts set; they slow a current numpy down.
OPENBLAS_OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def thread_environment(threads: int = 1) -> dict[str, str]:
    """The environment of a child process whose libraries use `threads` threads each."""
    kept = {name: value for name, value in os.environ.items() if name not in OPENBLAS_OVERRIDES}
    return {**kept, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def limit_threads(threads: int = 1) -> None:
    """Limit this process to `threads` threads a library; call it before the libraries are imported."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    for name in OPENBLAS_OVERRIDES:
        os.environ.pop(name, None)


def set_library_threads(threads: int = 1) -> None:
    """Set the thread counts that have no environment variable: torch's pools and Arrow's."""
    import pyarrow as pa
    import torch

    torch.set_num_threads(threads)
    pa.set_cpu_count(threads)
    pa.set_io_thread_count(threads)


def cpu_model() -> str:
    """The processor's name as Linux reports it, else what Python knows of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GiB, load average and date (UTC)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of those `packages` that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_rss_mib() -> float:
    """The largest resident set this process ever had, MiB (Linux counts KiB, macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of some measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def save_result(name: str, result: dict[str, Any]) -> Path:
    """Write `result` as benchmarks/results/NAME.json (ignored by git) and return the path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, numbers to the right."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        return "| " + " | ".join([row[0].ljust(widths[0]), *numbers]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in cells)])
