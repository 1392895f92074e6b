"""What has to be waited for before anything happens: ``python benchmarks/startup.py [--runs 5]``.

Each measurement is a fresh process, seconds from its start (files in the system's cache): loading Dagster definitions
of one and of 50 pipelines, importing json2vec, a rank from its launch to its first predicted rows, and one partition of
1,000 rows from the plan to the manifest. Processor seconds stand beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common

common.limit_threads()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this repository, installed or not

from scale import predict, save_model, write_files  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
FIRST_ROWS = """
import sys, time
import lightning.pytorch as lit
import json2vec as j2v
class First(lit.Callback):
    def on_predict_batch_end(self, *arguments):
        print(time.clock_gettime(time.CLOCK_MONOTONIC), flush=True)
        raise SystemExit(0)
model = j2v.Model.load(sys.argv[1])
data = j2v.StreamingDataModule(model, sys.argv[2], "parquet", predict=r"[.]parquet$")
lit.Trainer(accelerator="cpu", callbacks=[First()], logger=False, enable_progress_bar=False,
            enable_model_summary=False).predict(model, datamodule=data, return_predictions=False)
"""


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Seconds, processor seconds and output of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=common.thread_environment() | environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    out, error = process.stdout.read(), process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:200]} failed:\n{error[-3000:]}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, out


def write_definitions(root: Path, count: int) -> Path:
    """A YAML file with `count` pipelines over the same folder."""
    path = root / f"pipelines-{count}.yaml"
    path.write_text(json.dumps({"pipelines": [
        {"name": f"orders_{n}", "inputs": "rows", "partitions": {"kind": "daily", "start": "2026-01-01"},
         "checkpoint": "model.ckpt", "output": f"predictions-{n}", "warehouse": "warehouse.duckdb",
         "table": f"scores_{n}", "ranks": 2, "columns": {"id": "inputs.id"}}
        for n in range(count)
    ]}))  # fmt: skip
    return path


def measure(root: Path) -> dict[str, tuple[float, float]]:
    """Every measurement once."""
    python = [sys.executable, "-W", "ignore"]
    path, found = {"PYTHONPATH": str(REPOSITORY)}, {}
    found["python and numpy, for comparison"] = run([*python, "-c", "import numpy"], path)[:2]
    found["import json2vec"] = run([*python, "-c", "import json2vec; json2vec.Model"], path)[:2]
    load = "import j2v_dagster.definitions, sys; assert 'torch' not in sys.modules"
    for count in (1, 50):
        definitions = path | {"J2V_DEFS": str(root / f"pipelines-{count}.yaml")}
        found[f"definitions of {count} pipelines"] = run([*python, "-c", load], definitions)[:2]
    begun = time.clock_gettime(time.CLOCK_MONOTONIC)
    command = [*python, "-c", FIRST_ROWS, str(root / "model.ckpt"), str(root / "rows")]
    _, cpu, out = run(command, path)
    found["launch to the first batch"] = (float(out.split()[-1]) - begun, cpu)
    one = predict(root, root / "rows", 1)
    found["a partition of 1,000 rows"] = (one["plan"] + one["ranks"] + one["commit"], one["cpu"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    runs: list[dict[str, tuple[float, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        save_model(root / "model.ckpt")
        write_files(root / "rows", 1000, 4)
        for count in (1, 50):
            write_definitions(root, count)
        for _ in range(arguments.runs + 1):
            runs.append(measure(root))
    medians: dict[str, Any] = {
        what: {"s": statistics.median(run[what][0] for run in runs[1:]),
               "cpu_s": statistics.median(run[what][1] for run in runs[1:])}
        for what in runs[0]
    }  # fmt: skip
    rows = [[what, f"{one['s']:.2f}", f"{one['cpu_s']:.2f}"] for what, one in medians.items()]
    print(common.table(["what", "s", "CPU s"], rows))
    result = {"machine": common.machine(), "threads": 1, "runs": arguments.runs, "seconds": medians}
    print(f"written to {common.save_result('startup', result)}")


if __name__ == "__main__":
    main()
