"""How fast a folder is verified, in how much memory, and whether any mutation of one slips through.

    python benchmarks/verify.py [--rows 100000 1000000] [--runs 5] [--mutations 10000]

Speed: the flat workload on one thread. `base` is files + coverage + inputs + schema + values (the model is at hand, no
row is replayed); its rows/s, the peak memory of a fresh process, and the share of predict's time (measured on the
smallest folder with `trainer.predict` and `Writer`). The larger folders repeat its predictions over as many rows: the
network would take minutes, and verification without replay does not look back at it.

Mutations: one random change to a small folder at a time (`mutations.py`), every row replayed; each must fail.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import common

common.limit_threads()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this repository, installed or not

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import workload as workload_files  # noqa: E402

FILES = 4


def write_inputs(workload: dict[str, Any], rows: int, folder: Path) -> None:
    """Rows of the workload as FILES Parquet files of equal size."""
    folder.mkdir(parents=True)
    table = workload_files.make_rows(workload, rows, workload["seed"])
    for index, (start, stop) in enumerate(pairwise(np.linspace(0, rows, FILES + 1).astype(int))):
        pq.write_table(table.slice(start, stop - start), folder / f"part-{index}.parquet")


def predict(checkpoint: Path, inputs: Path, output: Path) -> float:
    """Predict the inputs with `trainer.predict` and `Writer`; seconds."""
    import lightning.pytorch as lit

    import json2vec as j2v

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    common.set_library_threads()
    model = j2v.Model.load(checkpoint)
    data = j2v.StreamingDataModule(model=model, root=inputs, suffix="parquet", predict=r"\.parquet$", num_workers=0)
    trainer = lit.Trainer(
        accelerator="cpu", callbacks=[j2v.Writer(output)], logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    start = time.perf_counter()
    trainer.predict(model=model, datamodule=data, return_predictions=False)
    return time.perf_counter() - start


def write_repeated(inputs: Path, predicted: Path, output: Path) -> None:
    """A committed folder over ``inputs`` whose predictions are those of ``predicted``, repeated."""
    from json2vec.rank_files.commit import commit_predictions
    from json2vec.rank_files.layout import rank_schema
    from json2vec.rank_files.manifest import read_manifest
    from json2vec.rank_files.rank_writer import RankFiles
    from json2vec.reading.plan import Plan
    from json2vec.reading.readers import read_rows
    from json2vec.reading.snapshot import snapshot_files
    from json2vec.storage.opening import open_store

    store, manifest = open_store(inputs), read_manifest(open_store(predicted))
    plan = Plan(snapshot_files(store, "parquet"), 1)
    predictions = pa.concat_arrays(
        pq.read_table(predicted / "rank-0.parquet", columns=["predictions"]).column(0).chunks
    )
    schema = rank_schema(plan.snapshot.schema, predictions.type)
    files = RankFiles(
        open_store(output), plan=plan, rank=0, attempt="repeated", model_fingerprint=manifest.model, schema=schema
    )
    at, size = 0, 10_000
    for rows in read_rows(plan.snapshot, store, plan.share(0), batch_size=size):
        if at + len(rows) > len(predictions):
            at = 0
        files.write(rows.inputs, predictions.slice(at, len(rows)), rows.source, rows.span, rows.rejected)
        at += len(rows)
    files.close()
    commit_predictions(output, plan, settings=manifest.settings)


def verify_once(checkpoint: Path, folder: Path, runs: int, sample: int) -> dict[str, Any]:
    """Verify ``runs`` times in this process: seconds, MiB, and the findings."""
    import json2vec as j2v

    common.set_library_threads()
    model = j2v.Model.load(checkpoint)
    before = common.peak_rss_mib()
    seconds, cpu = [], []
    for _ in range(runs):
        start, spent = time.perf_counter(), time.process_time()
        report = j2v.verify_predictions(folder, model=model, sample=sample)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - spent)
        assert report.passed, report.summary()
    peak = common.peak_rss_mib()
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak, "grown_mib": peak - before, "rows": report.rows}


def in_process(*arguments: object) -> dict[str, Any]:
    """`verify_once` in a fresh process, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=common.thread_environment(), check=False)
    if done.returncode:
        sys.exit(f"verification failed: {done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure_speed(sizes: list[int], runs: int) -> list[dict[str, Any]]:
    """One result a size."""
    from stages import make_model

    workload = workload_files.load(workload_files.FOLDER / "flat.json")
    results = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        checkpoint = make_model(workload).save(root / "model.ckpt")
        first = min(sizes)
        write_inputs(workload, first, root / f"in-{first}")
        predicted = predict(checkpoint, root / f"in-{first}", root / f"out-{first}")
        for size in sorted(sizes):
            if size != first:
                write_inputs(workload, size, root / f"in-{size}")
                write_repeated(root / f"in-{size}", root / f"out-{first}", root / f"out-{size}")
            base = in_process(checkpoint, root / f"out-{size}", runs, 0)
            seconds = common.spread(base["seconds"])
            cpu = common.spread(base["cpu_seconds"])
            result = {"rows": size, "rows_per_s": round(size / seconds["median"]), "seconds": seconds,
                      "rows_per_cpu_s": round(size / cpu["median"]), "cpu_seconds": cpu,
                      "peak_mib": round(base["peak_mib"]), "grown_mib": round(base["grown_mib"])}  # fmt: skip
            if size == first:
                replayed = in_process(checkpoint, root / f"out-{size}", runs, 64)
                result["predict_s"] = predicted
                result["share_of_predict"] = seconds["median"] / predicted
                result["with_replay_of_64_s"] = common.spread(replayed["seconds"])["median"]
            results.append(result)
    return results


def measure_mutations(count: int, seed: int) -> dict[str, Any]:
    """Apply ``count`` mutations; which kinds there were and which were not caught."""
    import mutations

    with tempfile.TemporaryDirectory() as name:
        case = mutations.Case.make(Path(name), seed)
        start = time.perf_counter()
        outcome = case.run(count)
        return {**outcome, "seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20250101)
    parser.add_argument("--child", nargs=4, metavar=("CKPT", "FOLDER", "RUNS", "SAMPLE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.child:
        checkpoint, folder, runs, sample = arguments.child
        print(json.dumps(verify_once(Path(checkpoint), Path(folder), int(runs), int(sample))))
        return
    result: dict[str, Any] = {"machine": common.machine(), "threads": 1, "runs": arguments.runs,
                              "versions": common.versions("torch", "polars", "pyarrow", "numpy")}  # fmt: skip
    if arguments.rows:
        result["speed"] = measure_speed(arguments.rows, arguments.runs)
        header = ["rows", "rows/s", "rows/CPU s", "peak MiB", "share of predict"]
        rows = [[f"{one['rows']:,}", f"{one['rows_per_s']:,}", f"{one['rows_per_cpu_s']:,}", one["peak_mib"],
                 f"{one['share_of_predict']:.1%}" if "share_of_predict" in one else ""]
                for one in result["speed"]]  # fmt: skip
        print(common.table(header, rows))
    if arguments.mutations:
        result["mutations"] = measure_mutations(arguments.mutations, arguments.seed)
        kinds = result["mutations"]["kinds"]
        print(
            common.table(
                ["mutation", "made", "caught"], [[k, v["made"], v["caught"]] for k, v in sorted(kinds.items())]
            )
        )
        if missed := result["mutations"]["missed"]:
            print("\n".join(["NOT CAUGHT:", *missed]), file=sys.stderr)
    print(f"written to {common.save_result('verify', result)}")
    if arguments.mutations and result["mutations"]["missed"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
