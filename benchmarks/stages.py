"""Where a prediction's time goes: microseconds a row in each stage, one process, one thread, no overlap.

    python benchmarks/stages.py [--workloads flat nested] [--runs 5]

The stages run one after another on the same rows, each over all batches, so that none hides behind another; in
`trainer.predict` reading with encoding, the network, and writing overlap. `floor` is what Arrow alone takes to read
or write the same rows. Needs no peer: the models are fresh ones with learned vocabularies.
"""

from __future__ import annotations

import argparse
import logging
import shutil
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
import pyarrow.parquet as pq  # noqa: E402
import workload as workload_files  # noqa: E402

import json2vec as j2v  # noqa: E402
from json2vec.data.plan import Plan  # noqa: E402
from json2vec.data.readers import read_rows  # noqa: E402
from json2vec.data.snapshot import snapshot_files  # noqa: E402
from json2vec.rank_files.files import RankFiles  # noqa: E402
from json2vec.rank_files.layout import rank_schema  # noqa: E402
from json2vec.stores import open_store  # noqa: E402


def make_node(field: dict[str, Any]) -> Any:
    """A schema node for one field of a workload."""
    if field["type"] == "array":
        children = [make_node(child) for child in field["fields"]]
        return j2v.Array(*children, name=field["name"], max_length=field["max_length"])
    target = field.get("target", False)
    if field["type"] == "category":
        return j2v.Category(field["name"], max_vocab_size=2 * field["labels"], target=target)
    return j2v.Number(field["name"], target=target)


def make_model(workload: dict[str, Any]) -> Any:
    """An untrained model that knows every label."""
    lit.seed_everything(workload["seed"], verbose=False)
    nodes = [make_node(field) for field in workload["fields"]]
    sizes = {key: workload[key] for key in ("d_model", "n_layers", "n_heads", "embed", "batch_size")}
    model = j2v.Model.from_schema(*nodes, **sizes)
    model.learn(workload_files.make_rows(workload, 2048, workload["seed"] + 1).combine_chunks().to_batches()[0])
    return model.eval()


def run_stages(model: Any, rows: Path, output: Path) -> tuple[dict[str, float], dict[str, int]]:
    """Run every stage once: seconds, and bytes where a stage reads or writes files."""
    seconds: dict[str, float] = {}

    def stage(name: str, action: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = action()
        seconds[name] = time.perf_counter() - start
        return result

    store = open_store(rows)
    snapshot = stage("plan", lambda: snapshot_files(store, "parquet"))
    plan = Plan(snapshot, world_size=1)
    batches = stage("read", lambda: list(read_rows(snapshot, store, plan.share(0), batch_size=model.batch_size)))
    encoded = stage("encode", lambda: [model.encode(batch) for batch in batches])
    predictions = stage("forward", lambda: [model.predict_step(batch, index) for index, batch in enumerate(encoded)])
    columns = stage("columns", lambda: [prediction.columns() for prediction in predictions])

    def write() -> None:
        schema = rank_schema(snapshot.schema, model.output_type())
        fingerprint = model.fingerprint()
        files = RankFiles(output, plan=plan, rank=0, attempt="stages", model_fingerprint=fingerprint, schema=schema)
        for batch, column in zip(batches, columns, strict=True):
            files.write(batch.inputs, column, batch.source, batch.span, batch.rejected)
        files.close()

    stage("write", write)
    stage("commit", lambda: j2v.commit_predictions(output, plan, attempt="stages"))
    stage("verify", lambda: j2v.verify_predictions(output, model=model).raise_if_failed())
    table = stage("floor: read", lambda: pq.read_table(rows, use_threads=False))
    whole = pq.read_table(output / "rank-0.parquet", use_threads=False)
    # The codec of the rank files, without their page checksums, SHA-256 and fsync.
    stage("floor: write", lambda: pq.write_table(whole, output / "floor", compression="zstd", compression_level=1))
    read = sum(path.stat().st_size for path in rows.glob("*.parquet"))
    written = (output / "rank-0.parquet").stat().st_size
    assert table.num_rows == whole.num_rows == plan.rows
    return seconds, {"read": read, "write": written, "floor: write": (output / "floor").stat().st_size}


def predict(model: Any, rows: Path, output: Path) -> float:
    """Seconds of `trainer.predict` with the Writer, where the stages overlap."""
    data = j2v.StreamingDataModule(model=model, root=rows, suffix="parquet", predict=r"\.parquet$", num_workers=0)
    trainer = lit.Trainer(
        accelerator="cpu", callbacks=[j2v.Writer(output)], logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    start = time.perf_counter()
    trainer.predict(model=model, datamodule=data, return_predictions=False)
    return time.perf_counter() - start


def measure(name: str, runs: int) -> dict[str, Any]:
    """Medians of `runs` runs, after one that warms up; microseconds and bytes a row."""
    workload = workload_files.load(workload_files.FOLDER / f"{name}.json")
    model = make_model(workload)
    measured: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        rows, output = Path(folder, "rows"), Path(folder, "predictions")
        workload_files.write_rows(workload, rows)
        for run in range(runs + 1):
            seconds, sizes = run_stages(model, rows, output)
            shutil.rmtree(output)
            seconds["trainer.predict"] = predict(model, rows, output)
            shutil.rmtree(output)
            for stage, value in seconds.items() if run else ():
                measured.setdefault(stage, []).append(value)
    microseconds = {
        key: common.spread([1e6 * v / workload["rows"] for v in values]) for key, values in measured.items()
    }
    bytes_a_row = {key: size / workload["rows"] for key, size in sizes.items()}
    return {"rows": workload["rows"], "us_per_row": microseconds, "bytes_per_row": bytes_a_row}


def report(results: dict[str, dict[str, Any]]) -> str:
    """One row a stage, and two columns a workload."""
    stages = list(next(iter(results.values()))["us_per_row"])
    header = ["stage", *(f"{name}, {unit}" for name in results for unit in ("µs/row", "bytes/row"))]
    rows = []
    for stage in stages:
        cells = []
        for result in results.values():
            size = result["bytes_per_row"].get(stage)
            cells += [f"{result['us_per_row'][stage]['median']:.2f}", "" if size is None else f"{size:.0f}"]
        rows.append([stage, *cells])
    return common.table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=workload_files.names(), choices=workload_files.names())
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    common.set_library_threads()
    results = {name: measure(name, arguments.runs) for name in arguments.workloads}
    packages = ("torch", "lightning", "polars", "pyarrow", "numpy")
    path = common.save_result(
        "stages", {"machine": common.machine(), "threads": 1, "runs": arguments.runs,
                   "versions": common.versions(*packages), "workloads": results},
    )  # fmt: skip
    print(f"{report(results)}\n\nwritten to {path}")


if __name__ == "__main__":
    main()
