"""What the training profile and the contract before launch cost: seconds of wall clock and of the processor.

    python benchmarks/contract.py [--workloads flat nested] [--rows 200000] [--runs 5]

The pass that learns vocabularies is timed without and with the profile, in turns; beside it one epoch of
`trainer.fit`, of which it is a small part. Then the contract on a partition of `--rows` rows: schemas alone, and with
a sample.
"""

from __future__ import annotations

import argparse
import logging
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

import lightning.pytorch as lit  # noqa: E402
import torch  # noqa: E402
import workload as workload_files  # noqa: E402
from stages import make_model  # noqa: E402

import json2vec as j2v  # noqa: E402
from json2vec.contract import SAMPLE_ROWS, check_shards  # noqa: E402
from json2vec.enums import Strata  # noqa: E402
from json2vec.model.checkpoint import load  # noqa: E402
from json2vec.reading.readers import read_rows  # noqa: E402
from json2vec.reading.snapshot import snapshot_files  # noqa: E402
from json2vec.storage.opening import open_store  # noqa: E402


def timed(action: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of wall clock and of this process."""
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - processor


def measure(name: str, rows: int, runs: int, epoch: bool) -> dict[str, list[tuple[float, float]]]:
    workload = workload_files.load(workload_files.FOLDER / f"{name}.json") | {"rows": rows}
    model = make_model(workload)
    model.optimizer = lambda module: torch.optim.AdamW(module.parameters(), lr=1e-3)
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        workload_files.write_rows(workload, Path(folder, "rows"))
        store = open_store(Path(folder, "rows"))
        snapshot = snapshot_files(store, "parquet")

        def data() -> Any:
            return j2v.StreamingDataModule(model, Path(folder, "rows"), "parquet", train=snapshot)

        def learn() -> None:
            for batch in read_rows(snapshot, store, [(0, rows)], batch_size=8192, strata=Strata.train):
                model.learn(batch.observations)

        data().setup("fit")
        checkpoint = load(model.save(Path(folder, "model.ckpt")))
        steps: dict[str, Callable[[], Any]] = {
            "learn, without profile": learn,
            "learn, with profile": lambda: data().setup("fit"),
            "contract, schemas": lambda: check_shards(checkpoint, snapshot, store, sample_rows=0),
            f"contract, {SAMPLE_ROWS} rows": lambda: check_shards(checkpoint, snapshot, store),
        }
        for run in range(runs + 1):
            for step, action in steps.items():
                seconds = timed(action)
                if run:
                    found.setdefault(step, []).append(seconds)
        if epoch:
            trainer = lit.Trainer(
                accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
                enable_checkpointing=False,
            )  # fmt: skip
            found["trainer.fit, one epoch"] = [timed(lambda: trainer.fit(model, datamodule=data()))]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=workload_files.names(), choices=workload_files.names())
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-epoch", action="store_true", help="leave the epoch of training out")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    common.set_library_threads()
    results = {
        name: measure(name, arguments.rows, arguments.runs, not arguments.no_epoch) for name in arguments.workloads
    }
    rows = []
    for step in next(iter(results.values())):
        cells = []
        for result in results.values():
            wall, processor = (common.spread([pair[i] for pair in result[step]])["median"] for i in (0, 1))
            cells += [f"{wall:.3f}", f"{processor:.3f}"]
        rows.append([step, *cells])
    header = ["step", *(f"{name}, {unit}" for name in results for unit in ("s", "CPU s"))]
    path = common.save_result(
        "contract", {"machine": common.machine(), "rows": arguments.rows, "runs": arguments.runs,
                     "versions": common.versions("torch", "lightning", "pyarrow", "numpy"), "workloads": results},
    )  # fmt: skip
    print(f"{common.table(header, rows)}\n\nwritten to {path}")


if __name__ == "__main__":
    main()
