"""A backfill of many partitions with one start of the ranks, beside the same rows as one partition:
``python benchmarks/backfill.py [--partitions 90] [--rows 700] [--runs 5]``.

Real Dagster runs (SQLite storage, torchrun, 2 ranks of one thread), one process each, in turn A B A B. Three spans of a
run: from the launch of the ranks to the last manifest; the checks and the load; what Dagster itself takes (the rest:
events, planning, starting the run). Rows are of a workload, by default nested.
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
from itertools import pairwise
from pathlib import Path
from typing import Any

import common

common.limit_threads()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this repository, installed or not

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import workload as workloads  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]


def prepare(root: Path, name: str, partitions: int, rows: int) -> None:
    """The model, and the same rows twice: as ``partitions`` folders below many/, as one below one/."""
    from stages import make_model

    found = workloads.load(workloads.FOLDER / f"{name}.json")
    make_model(found).save(root / "model.ckpt")
    table = workloads.make_rows(found, partitions * rows, found["seed"])
    for kind, count in (("many", partitions), ("one", 1)):
        bounds = np.linspace(0, table.num_rows, count + 1).astype(int)
        for number, (start, stop) in enumerate(pairwise(bounds)):
            folder = root / kind / f"dt=p{number:03}"
            folder.mkdir(parents=True)
            pq.write_table(table.slice(start, stop - start), folder / "part-0.parquet")


class Timed:
    """The torchrun launcher; remembers when it was asked to start."""

    def __init__(self) -> None:
        from j2v_dagster import TorchrunLauncher

        self._inner, self.started = TorchrunLauncher(threads=1), 0.0

    def submit(self, job_path: str, *, ranks: int, log_folder: str) -> str:
        self.started = time.time()
        return self._inner.submit(job_path, ranks=ranks, log_folder=log_folder)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def run_side(root: Path, kind: str, partitions: int) -> dict[str, float]:
    """One run in this process; seconds of its spans."""
    import dagster as dg
    from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

    from j2v_dagster import build_prediction_pipeline
    from j2v_dagster.steps.pipeline import Pipeline

    keys = [f"p{number:03}" for number in range(partitions if kind == "many" else 1)]
    spent: dict[str, float] = {"verify": 0.0, "load": 0.0, "freeze": 0.0}
    for name in spent:
        inner = getattr(Pipeline, name)

        def timed(*arguments: Any, _inner: Any = inner, _name: str = name, **more: Any) -> Any:
            before = time.time()
            try:
                return _inner(*arguments, **more)
            finally:
                spent[_name] += time.time() - before

        setattr(Pipeline, name, timed)
    out, launcher = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=root)), Timed()
    defs = build_prediction_pipeline(
        name="bench", inputs=str(root / kind), partitions={"kind": "static", "keys": keys},
        checkpoint=str(root / "model.ckpt"), output=str(out / "predictions"), warehouse=str(out / "w.duckdb"),
        table="t", columns={"id": "inputs.id"}, ranks=2, min_free_bytes=0, backfill="single_run", contract="off",
        launcher=launcher,
    )  # fmt: skip
    home = out / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    os.environ["DAGSTER_HOME"] = str(home)
    with dg.DagsterInstance.get() as instance:
        before = time.time()
        result = defs.resolve_job_def("bench_predict").execute_in_process(
            instance=instance, tags={ASSET_PARTITION_RANGE_START_TAG: keys[0], ASSET_PARTITION_RANGE_END_TAG: keys[-1]},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )  # fmt: skip
        total = time.time() - before
    assert result.success
    manifests = [path.stat().st_mtime for path in (out / "predictions").rglob("_manifest.json")]
    assert len(manifests) == len(keys)
    predict = max(manifests) - launcher.started
    checks = spent["verify"] + spent["load"]
    return {
        "launch_to_last_manifest_s": predict,
        "checks_and_load_s": checks,
        "dagster_s": total - predict - checks - spent["freeze"],
        "total_s": total,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=90)
    parser.add_argument("--rows", type=int, default=700, help="rows a partition")
    parser.add_argument("--workload", default="nested", choices=workloads.names())
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--side", nargs=2, metavar=("KIND", "ROOT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run_side(Path(options.side[1]), options.side[0], options.partitions)))
        return
    measured: dict[str, list[dict[str, float]]] = {"many": [], "one": []}
    with tempfile.TemporaryDirectory(prefix="j2v-backfill-") as folder:
        prepare(Path(folder), options.workload, options.partitions, options.rows)
        for turn in range(options.runs + 1):
            for kind, found in measured.items():
                command = [sys.executable, "-W", "ignore", __file__, "--partitions", str(options.partitions), "--side",
                           kind, folder]  # fmt: skip
                done = subprocess.run(command, capture_output=True, text=True, env=common.thread_environment())
                if done.returncode:
                    raise SystemExit(done.stderr[-3000:])
                if turn:  # the first turn warms the file system's cache
                    found.append(json.loads(done.stdout.splitlines()[-1]))
    names = list(measured["many"][0])
    medians = {kind: {name: statistics.median(one[name] for one in found) for name in names}
               for kind, found in measured.items()}  # fmt: skip
    ratio = statistics.median(
        many["launch_to_last_manifest_s"] / one["launch_to_last_manifest_s"]
        for many, one in zip(measured["many"], measured["one"], strict=True)
    )
    rows = [[name, f"{medians['many'][name]:.2f}", f"{medians['one'][name]:.2f}"] for name in names]
    print(f"{options.partitions} partitions of {options.rows} {options.workload} rows, 2 ranks of one thread")
    print(common.table(["seconds", f"{options.partitions} partitions", "one partition"], rows))
    print(f"launch to last manifest: {ratio:.2f}x (median over turns)")
    common.save_result("backfill", {"machine": common.machine(), "ratio": ratio, "medians": medians, "runs": measured,
                                    "options": vars(options)})  # fmt: skip


if __name__ == "__main__":
    main()
