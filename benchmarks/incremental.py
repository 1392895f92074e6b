"""What an incremental run costs beside a full one: ``python benchmarks/incremental.py [--workloads flat nested]``.

Two attempts at the same rows, of which 1% (by default) changed since the attempt that both follow, scattered over all
files: one predicts everything, the other takes the stored predictions of what did not change. Both run as a rank does
(`json2vec.predict.worker.run_job` in this process, one rank, one thread a library), by turns, A B A B; the result is
compared row by row. Loading the model and importing libraries are left out of both (a rank pays some seconds for them);
opening the earlier attempt, with its SHA-256, is in.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import common

common.limit_threads()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this repository, installed or not

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import stages  # noqa: E402
import workload as workload_files  # noqa: E402

from json2vec.predict.job import PredictJob, plan_job  # noqa: E402
from json2vec.predict.worker import Worker, run_job  # noqa: E402
from json2vec.rank_files.commit import commit_predictions  # noqa: E402
from json2vec.rank_files.manifest import Manifest  # noqa: E402
from json2vec.reading.snapshot import snapshot_files  # noqa: E402
from json2vec.storage.local import file_sha256  # noqa: E402
from json2vec.storage.opening import open_store  # noqa: E402
from json2vec.verify.tolerance import far  # noqa: E402

ROWS = {"flat": 1_000_000, "nested": 200_000}
Seconds = tuple[float, float]  # of the clock, of the processor


def write_inputs(workload: dict[str, Any], rows: int, folder: Path, *, changed: float = 0.0) -> int:
    """Write `rows` rows as the workload's number of files, a share `changed` of them, at random, with another amount;
    returns how many that are."""
    table = workload_files.make_rows(workload, rows, workload["seed"])
    count = round(rows * changed)
    if count:
        amounts = table["amount"].to_numpy().copy()
        amounts[np.random.default_rng(1).choice(rows, count, replace=False)] += 1.0
        place = table.schema.get_field_index("amount")
        table = table.set_column(place, table.schema.field(place), pa.array(amounts))
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, rows, workload["files"] + 1).astype(int)
    for index in range(workload["files"]):
        pq.write_table(table.slice(bounds[index], bounds[index + 1] - bounds[index]), folder / f"part-{index}.parquet")
    return count


def attempt(
    worker: Worker, checkpoint: Path, inputs: Path, output: Path, reuse: Path | None
) -> tuple[Seconds, Manifest]:
    """Predict all rows of `inputs` as one rank, and commit: seconds of the rank, and the manifest."""
    snapshot = snapshot_files(open_store(inputs), "parquet")
    job = PredictJob(
        attempt=output.name, checkpoint=str(checkpoint), checkpoint_sha256=file_sha256(checkpoint), output=str(output),
        snapshot=snapshot.to_json(), intervals=[(0, snapshot.rows)], world_size=1, threads=1,
        reuse=None if reuse is None else str(reuse),
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        worker.model(job)
        clock, cpu = time.perf_counter(), time.process_time()
        run_job(job, worker=worker)
    seconds = time.perf_counter() - clock, time.process_time() - cpu
    return seconds, commit_predictions(output, plan_job(job), settings=job.recorded())


def compare(one: Path, other: Path) -> None:
    """Raise unless two attempts of one rank hold the same rows with the same predictions."""
    with pq.ParquetFile(one / "rank-0.parquet") as a, pq.ParquetFile(other / "rank-0.parquet") as b:
        tables = [file.read() for file in (a, b)]
    assert tables[0]["source"].equals(tables[1]["source"])
    assert tables[0]["inputs"].equals(tables[1]["inputs"])
    assert not far(*(pa.concat_arrays(table["predictions"].chunks) for table in tables)).any()


def measure(name: str, *, rows: int, changed: float, runs: int) -> dict[str, Any]:
    """Medians over `runs` turns after one that warms up."""
    workload = workload_files.load(workload_files.FOLDER / f"{name}.json")
    model = stages.make_model(workload)
    worker = Worker()
    measured: dict[str, list[Seconds]] = {"full": [], "incremental": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        checkpoint = Path(model.save(root / "model.ckpt"))
        inputs = root / "inputs"
        write_inputs(workload, rows, inputs)
        attempt(worker, checkpoint, inputs, root / "before", None)
        count = write_inputs(workload, rows, inputs, changed=changed)
        for run in range(runs + 1):
            for side, reuse in (("full", None), ("incremental", root / "before")):
                seconds, manifest = attempt(worker, checkpoint, inputs, root / side, reuse)
                assert manifest.reused_rows == (rows - count if reuse else 0)
                if run:
                    measured[side].append(seconds)
            if not run:
                compare(root / "full", root / "incremental")
            shutil.rmtree(root / "full")
            shutil.rmtree(root / "incremental")
    result: dict[str, Any] = {"rows": rows, "changed_rows": count}
    for i, unit in enumerate(("wall", "cpu")):
        values = {side: [seconds[i] for seconds in found] for side, found in measured.items()}
        for side, found in values.items():
            result[f"{side}_{unit}_s"] = common.spread(found)
        turns = zip(values["incremental"], values["full"], strict=True)
        result[f"ratio_{unit}"] = common.spread([one / other for one, other in turns])
    return result


def report(results: dict[str, dict[str, Any]]) -> str:
    """One row a workload."""
    header = ["workload", "rows", "changed", "full, µs/row (clock, CPU)", "incremental, µs/row (clock, CPU)",
              "incremental/full (clock, CPU)"]  # fmt: skip
    lines = []
    for name, one in results.items():
        each = {
            side: ", ".join(f"{1e6 * one[f'{side}_{unit}_s']['median'] / one['rows']:.2f}" for unit in ("wall", "cpu"))
            for side in ("full", "incremental")
        }
        ratios = ", ".join(f"{one[f'ratio_{unit}']['median']:.1%}" for unit in ("wall", "cpu"))
        lines.append([name, f"{one['rows']:,}", f"{one['changed_rows']:,}", each["full"], each["incremental"], ratios])
    return common.table(header, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=workload_files.names(), choices=workload_files.names())
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--changed", type=float, default=0.01, help="share of the rows that changed")
    parser.add_argument("--rows", type=int, help=f"default: {ROWS}")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1"}
    common.set_library_threads()
    results = {
        name: measure(name, rows=arguments.rows or ROWS[name], changed=arguments.changed, runs=arguments.runs)
        for name in arguments.workloads
    }
    packages = ("torch", "lightning", "pyarrow", "numpy")
    path = common.save_result(
        "incremental", {"machine": common.machine(), "threads": 1, "runs": arguments.runs,
                        "versions": common.versions(*packages), "workloads": results},
    )  # fmt: skip
    print(f"{report(results)}\n\nwritten to {path}")


if __name__ == "__main__":
    main()
