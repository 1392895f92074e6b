"""Where a prediction's time goes: microseconds a row in each stage, one process, one thread, no overlap.

    python benchmarks/stages.py [--workloads flat nested] [--runs 5]

The stages run one after another on the same rows, each over all batches, so that none hides behind another; in
`trainer.predict` reading with encoding, the network, and writing overlap. Beside a stage stands its floor: what cannot
be avoided, done by Arrow, torch or DuckDB alone on the same bytes. Needs no peer: the models are fresh ones with
learned vocabularies.
"""

from __future__ import annotations

import argparse
import hashlib
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

import duckdb  # noqa: E402
import lightning.pytorch as lit  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
import workload as workload_files  # noqa: E402
from arithmetic import flops_per_row  # noqa: E402

import json2vec as j2v  # noqa: E402
from j2v_dagster.warehouse.columns import ColumnPath, parse_path, project  # noqa: E402
from j2v_dagster.warehouse.duckdb import DuckDBWarehouse  # noqa: E402
from json2vec.data.encode_groups import encode_together  # noqa: E402
from json2vec.rank_files.layout import rank_schema  # noqa: E402
from json2vec.rank_files.rank_writer import RankFiles  # noqa: E402
from json2vec.reading.plan import Plan  # noqa: E402
from json2vec.reading.readers import read_rows  # noqa: E402
from json2vec.reading.snapshot import snapshot_files  # noqa: E402
from json2vec.storage.opening import open_store  # noqa: E402


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


def warehouse_columns(model: Any) -> dict[str, ColumnPath]:
    """The id, every value and every embedding that the model writes."""
    columns = {"id": parse_path("inputs.id")}
    for number, address in enumerate(model.written()):
        leaf = model.schema.leaves.get(address)
        payload = "embedding" if leaf is None else "content.value" if leaf.type == "category" else "content"
        columns[f"column_{number}"] = parse_path(f'predictions["{address}"].{payload}')
    return columns


def load(rank_file: Path, database: Path, columns: dict[str, ColumnPath]) -> None:
    """Load a rank file as the pipeline does."""
    roots = sorted({path.root for path in columns.values()})
    with pq.ParquetFile(rank_file, page_checksum_verification=True) as file:
        projection = project(columns, file.schema_arrow, {})
        DuckDBWarehouse(database).replace_partition(
            table="rows", partition_column="partition", partition="one", schema=projection.schema,
            batches=projection.batches(file.iter_batches(columns=roots)), rows=file.metadata.num_rows,
        )  # fmt: skip


def run_stages(model: Any, rows: Path, output: Path) -> tuple[dict[str, float], dict[str, int]]:
    """Run every stage once, and every floor: seconds, and bytes where a stage reads or writes files."""
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
    groups = stage("encode", lambda: list(encode_together(batches, model.encode, model.encode)))
    encoded = [batch for group in groups for batch in group]
    predictions = stage("forward", lambda: [model.predict_step(batch, index) for index, batch in enumerate(encoded)])
    columns = stage("columns", lambda: [prediction.columns() for prediction in predictions])

    def write() -> None:
        schema = rank_schema(snapshot.schema, model.output_type())
        fingerprint = model.fingerprint()
        files = RankFiles(
            open_store(output), plan=plan, rank=0, attempt="stages", model_fingerprint=fingerprint, schema=schema
        )
        for batch, column in zip(batches, columns, strict=True):
            files.write(batch.inputs, column, batch.source, batch.span, batch.rejected)
        files.close()

    stage("write", write)
    stage("commit", lambda: j2v.commit_predictions(output, plan, attempt="stages"))
    stage("verify", lambda: j2v.verify_predictions(output, model=model).raise_if_failed())
    rank_file, wanted = output / "rank-0.parquet", warehouse_columns(model)
    stage("load", lambda: load(rank_file, output / "warehouse.duckdb", wanted))

    # The floors.
    table = stage("floor: read", lambda: pq.read_table(rows, use_threads=False))
    tensors = [tensor for batch in encoded for field in batch.fields.values()
               for tensor in (field.state, *field.content.values())]  # fmt: skip
    stage("floor: encode", lambda: [tensor.clone() for tensor in tensors])
    left, right = torch.randn(512, 512), torch.randn(512, 512)
    products = round(len(table) * flops_per_row(model) / (2 * 512**3))
    stage("floor: forward", lambda: [left @ right for _ in range(products)])
    emitted = [tensor for one in predictions for payload in one.emitted.values() for tensor in payload.values()]
    stage("floor: columns", lambda: [tensor.clone() for tensor in emitted])
    whole = pq.read_table(rank_file, use_threads=False)
    # The codec of the rank files, without their page checksums, SHA-256 and fsync.
    stage("floor: write", lambda: pq.write_table(whole, output / "floor", compression="zstd", compression_level=1,
                                                 use_dictionary=False))  # fmt: skip
    # What any verification must do: read the rank file and the inputs, and hash the file's bytes.
    stage("floor: verify", lambda: (
        pq.read_table(rank_file, use_threads=False), pq.read_table(rows, use_threads=False),
        hashlib.sha256(rank_file.read_bytes()),
    ))  # fmt: skip
    ready = pa.Table.from_batches(project(wanted, whole.schema, {}).batches(iter(whole.to_batches())))
    with duckdb.connect(output / "floor.duckdb", config={"threads": 1}) as connection:
        connection.register("ready", ready)
        stage("floor: load", lambda: connection.execute("CREATE TABLE rows AS SELECT * FROM ready"))
    assert table.num_rows == whole.num_rows == ready.num_rows == plan.rows
    sizes = {"read": sum(path.stat().st_size for path in rows.glob("*.parquet")), "write": rank_file.stat().st_size,
             "load": (output / "warehouse.duckdb").stat().st_size}  # fmt: skip
    return seconds, sizes


def predict(model: Any, rows: Path, output: Path, accelerator: str = "cpu") -> float:
    """Seconds of `trainer.predict` with the Writer, where the stages overlap."""
    data = j2v.StreamingDataModule(model=model, root=rows, suffix="parquet", predict=r"\.parquet$", num_workers=0)
    trainer = lit.Trainer(
        accelerator=accelerator, devices=1, callbacks=[j2v.Writer(output)], logger=False, enable_progress_bar=False,
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
    """One row a stage, and three columns a workload."""
    stages = [name for name in next(iter(results.values()))["us_per_row"] if not name.startswith("floor: ")]
    header = ["stage", *(f"{name}, {unit}" for name in results for unit in ("µs/row", "floor", "bytes/row"))]
    rows = []
    for stage in stages:
        cells = []
        for result in results.values():
            spent = [result["us_per_row"].get(name) for name in (stage, f"floor: {stage}")]
            size = result["bytes_per_row"].get(stage)
            cells += ["" if one is None else f"{one['median']:.2f}" for one in spent]
            cells.append("" if size is None else f"{size:.0f}")
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
