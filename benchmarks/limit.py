"""How close a prediction comes to what the network alone allows, and the network to what the processor allows.

    python benchmarks/limit.py [--workloads flat nested ...] [--runs 5] [--times 8]

Three rates of the same rows, measured in turns: `trainer.predict` with the Writer (reading, encoding, network,
writing, committing), the bare forward on ready batches, and a plain matrix product. Rows per processor second stand
first: reader and writer threads may use a second core, and a busy machine disturbs the clock. Pipeline over forward is
1 at best. A run has `--times` as many rows as the workload, so that what a run costs once (`startup.py` measures it)
does not count for much. The share of the matrix product's speed counts the formulas' matrix products alone
(`arithmetic.py`).
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common

common.limit_threads()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this repository, installed or not

import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
import workload as workload_files  # noqa: E402
from arithmetic import flops_per_row  # noqa: E402
from stages import make_model, predict  # noqa: E402

from json2vec.model.memory import keep_freed_memory  # noqa: E402

FORWARD_BATCHES = 4
PRODUCTS = 500  # of 512 x 512 matrices: a second and a half


def rate(action: Callable[[], Any], amount: float) -> dict[str, float]:
    """`amount` per second and per processor second."""
    cpu, wall = time.process_time(), time.perf_counter()
    action()
    return {"s": amount / (time.perf_counter() - wall), "cpu_s": amount / (time.process_time() - cpu)}


def measure(name: str, runs: int, times: int) -> dict[str, Any]:
    """`runs` turns of all three, after one that warms up."""
    workload = workload_files.load(workload_files.FOLDER / f"{name}.json")
    workload["rows"] *= times
    model, size = make_model(workload), workload["batch_size"]
    left = torch.randn(512, 512)
    found: dict[str, list[dict[str, float]]] = {"pipeline": [], "forward": [], "gflops": []}
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        rows, output = Path(folder, "rows"), Path(folder, "predictions")
        workload_files.write_rows(workload, rows)
        head = pq.read_table(rows).combine_chunks().to_batches()[0]
        starts = range(0, min(head.num_rows, FORWARD_BATCHES * size), size)
        ready = [model.encode(head.slice(start, size)) for start in starts]
        loops = max(1, workload["rows"] // sum(batch.size for batch in ready))  # as long as the pipeline takes
        count = loops * sum(batch.size for batch in ready)
        for run in range(runs + 1):
            rates = {
                "pipeline": rate(lambda: predict(model, rows, output), workload["rows"]),
                "forward": rate(lambda: [model.infer(batch) for _ in range(loops) for batch in ready], count),
                "gflops": rate(lambda: [left @ left for _ in range(PRODUCTS)], PRODUCTS * 2 * 512**3 / 1e9),
            }
            shutil.rmtree(output)
            for what, one in rates.items() if run else ():
                found[what].append(one)
    flops = flops_per_row(model)
    turns, units = list(zip(*found.values(), strict=True)), ("s", "cpu_s")
    return {
        "flops_per_row": flops,
        **{what: {unit: common.spread([one[unit] for one in done]) for unit in units}
           for what, done in found.items()},
        "pipeline/forward": {unit: statistics.median(p[unit] / f[unit] for p, f, _ in turns) for unit in units},
        "share": statistics.median(f["cpu_s"] * flops / 1e9 / g["cpu_s"] for _, f, g in turns),
    }  # fmt: skip


def report(results: dict[str, dict[str, Any]]) -> str:
    header = ["workload", "pipeline, rows/CPU s", "forward, rows/CPU s", "pipeline/forward, CPU", "by the clock",
              "kFLOP/row", "share of sgemm"]  # fmt: skip
    rows = [
        [name, f"{one['pipeline']['cpu_s']['median']:,.0f}", f"{one['forward']['cpu_s']['median']:,.0f}",
         f"{one['pipeline/forward']['cpu_s']:.2f}", f"{one['pipeline/forward']['s']:.2f}",
         f"{one['flops_per_row'] / 1e3:,.0f}", f"{100 * one['share']:.0f}%"]
        for name, one in results.items()
    ]  # fmt: skip
    return common.table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=workload_files.names(), choices=workload_files.names())
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--times", type=int, default=8, help="rows, as a multiple of the workload's")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    common.set_library_threads()
    results = {name: measure(name, arguments.runs, arguments.times) for name in arguments.workloads}
    path = common.save_result(
        "limit", {"machine": common.machine(), "threads": 1, "runs": arguments.runs, "times": arguments.times,
                  "versions": common.versions("torch", "lightning", "polars", "pyarrow", "numpy"),
                  "workloads": results},
    )  # fmt: skip
    print(f"{report(results)}\n\nwritten to {path}")


if __name__ == "__main__":
    main()
