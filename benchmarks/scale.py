"""Does prediction scale: time linear in rows, memory flat, many small files, several ranks, a million files to plan.

    python benchmarks/scale.py [--rows 100000 1000000] [--parts rows files ranks plan]

Every prediction is what a pipeline starts, `json2vec.predict` on a job file, one process a rank and one thread a
process, then the commit; its seconds are those of the processes from start to end, its peak memory that of the largest.
The model is small (3 fields, d_model 16), so that reading, writing and memory are what is measured. `plan` makes up
listings of a million files with 1e11 rows: what the coordinator does before any rank starts, and what one rank does
first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common

common.limit_threads()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this repository, installed or not

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

import json2vec as j2v  # noqa: E402
from json2vec.enums import Suffix  # noqa: E402
from json2vec.reading.plan import Plan  # noqa: E402
from json2vec.reading.snapshot import FILES_SCHEMA, Snapshot, snapshot_files  # noqa: E402
from json2vec.storage.local import file_sha256  # noqa: E402
from json2vec.storage.opening import open_store  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
BATCH = 1024
# A child's ru_maxrss begins at what its parent had when it started, so a rank says itself how much it held, in KiB.
RANK = """
import sys
from json2vec.predict.__main__ import main
code = main(sys.argv[1:])
held = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("\\npeak", held.split()[1])
sys.exit(code)
"""


def save_model(path: Path) -> None:
    model: Any = j2v.Model.from_schema(
        j2v.Number("amount"), j2v.Category("merchant", max_vocab_size=64), j2v.Category("label", target=True,
        max_vocab_size=8), d_model=16, n_layers=1, n_heads=4, batch_size=BATCH,
    )  # fmt: skip
    model.learn([{"merchant": f"m{n % 40}", "label": "abc"[n % 3]} for n in range(120)])
    model.save(path)


def write_files(folder: Path, rows: int, files: int) -> None:
    """`rows` made-up rows in `files` Parquet files of about equal size, a row group each 100,000 rows."""
    folder.mkdir(parents=True)
    rng, merchants = np.random.default_rng(1), pa.array([f"m{n}" for n in range(40)])
    bounds = np.linspace(0, rows, files + 1).astype(int)
    schema = pa.schema([("id", pa.int64()), ("amount", pa.float64()), ("merchant", pa.string())])
    for index in range(files):
        with pq.ParquetWriter(folder / f"part-{index:06d}.parquet", schema) as writer:
            for start in range(bounds[index], bounds[index + 1], 100_000):
                stop = min(start + 100_000, bounds[index + 1])
                ids = np.arange(start, stop)
                labels = merchants.take(pa.array(rng.integers(0, 40, len(ids))))
                writer.write_table(pa.table([ids, rng.lognormal(1, 1, len(ids)), labels], schema=schema))


def predict(root: Path, rows: Path, ranks: int) -> dict[str, float]:
    """Plan, predict with `ranks` processes, commit: seconds, processor seconds of the ranks, and MiB."""
    output, seconds = root / "predictions", {}
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    start = time.perf_counter()
    snapshot = snapshot_files(open_store(rows), "parquet")
    plan = Plan(snapshot, ranks)
    job = {"attempt": "scale", "checkpoint": str(root / "model.ckpt"), "output": str(output), "threads": 1,
           "checkpoint_sha256": file_sha256(root / "model.ckpt"), "snapshot": snapshot.to_json(),
           "intervals": [(0, snapshot.rows)], "world_size": ranks}  # fmt: skip
    (root / "job.json").write_text(json.dumps(job))
    seconds["plan"] = time.perf_counter() - start
    environment = common.thread_environment() | {"PYTHONPATH": str(REPOSITORY), "WORLD_SIZE": str(ranks)}
    command = [sys.executable, "-W", "ignore", "-c", RANK, str(root / "job.json")]
    processes = []
    for rank in range(ranks):
        with (root / f"rank-{rank}.log").open("w") as log:
            ranked = environment | {"RANK": str(rank), "LOCAL_RANK": "0"}
            processes.append(subprocess.Popen(command, env=ranked, stdout=log, stderr=log))
    usage, ended = [], []
    for rank, process in enumerate(processes):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        usage.append(used)
        ended.append(time.perf_counter())
        if process.returncode:
            raise SystemExit(f"rank {rank} failed:\n{(root / f'rank-{rank}.log').read_text()[-3000:]}")
    peaks = [int((root / f"rank-{rank}.log").read_text().rpartition("peak ")[2]) for rank in range(ranks)]
    seconds["ranks"] = max(ended) - start - seconds["plan"]
    before = time.perf_counter()
    manifest = j2v.commit_predictions(output, plan, attempt="scale")
    seconds["commit"] = time.perf_counter() - before
    assert manifest is not None
    return {
        **seconds,
        "rows": snapshot.rows,
        "cpu": sum(used.ru_utime + used.ru_stime for used in usage),
        "peak_mib": max(peaks) / 1024,
    }


def measure_predictions(parts: list[str], sizes: list[int]) -> dict[str, dict[str, float]]:
    """By what was predicted."""
    cases: list[tuple[str, int, int, int]] = []
    if "rows" in parts:
        cases += [(f"{rows:,} rows, 4 files", rows, 4, 1) for rows in sizes]
    if "files" in parts:
        cases += [("100,000 rows, 10,000 files", 100_000, 10_000, 1), ("1,000,000 rows, 1 file", 1_000_000, 1, 1)]
    if "ranks" in parts:
        several = (2, 4) if "rows" in parts else (1, 2, 4)  # the rows above are of one rank
        cases += [(f"{sizes[-1]:,} rows, {ranks} ranks", sizes[-1], 4, ranks) for ranks in several]
    found = {}
    for label, rows, files, ranks in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            save_model(root / "model.ckpt")
            write_files(root / "rows", rows, files)
            found[label] = predict(root, root / "rows", ranks)
        print(f"{label}: " + ", ".join(f"{key} {value:,.1f}" for key, value in found[label].items()), flush=True)
    return found


def measure_plan(files: int, rows: int, ranks: int) -> dict[str, float]:
    """Seconds and MiB to plan `rows` rows in `files` files for `ranks` ranks, from a made-up listing."""
    counts = np.full(files, rows // files, np.int64)
    jitter = np.random.default_rng(0).integers(0, counts[0] // 2, files // 2)
    counts[: files // 2] += jitter
    counts[files // 2 : files // 2 * 2] -= jitter
    table = pa.table(
        {"path": [f"part-{n:07d}-0123456789abcdef.parquet" for n in range(files)], "size": counts * 100,
         "version": [str(1_767_225_600_000_000_000 + n) for n in range(files)], "rows": counts},
        schema=FILES_SCHEMA,
    )  # fmt: skip
    columns = pa.schema([(f"column_{n}", pa.float64()) for n in range(20)])
    start = time.perf_counter()
    plan = Plan(Snapshot("/data/in", Suffix.parquet, table, columns), ranks)
    digest = plan.digest
    shares = [plan.share(rank) for rank in range(ranks)]
    planned = time.perf_counter()
    text = json.dumps(plan.snapshot.to_json())
    written = time.perf_counter()
    again = Plan(Snapshot.from_json(json.loads(text)), ranks)
    first, last = again.share(ranks - 1)[0]
    located = again.snapshot.locate(first), again.snapshot.locate(last - 1)
    assert again.digest == digest
    assert sum(stop - start for share in shares for start, stop in share) == plan.snapshot.rows == rows
    return {
        "files": files, "rows": rows, "ranks": ranks, "plan_s": planned - start, "write_job_s": written - planned,
        "job_mib": len(text) / 2**20, "rank_reads_job_s": time.perf_counter() - written,
        "files_of_last_rank": located[1][0] - located[0][0] + 1,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[100_000, 1_000_000], help="also worth a run: 5000000")
    parser.add_argument("--parts", nargs="+", default=["plan", "rows", "files", "ranks"],
                        choices=("plan", "rows", "files", "ranks"))  # fmt: skip
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": common.machine(), "threads": 1}
    if "plan" in arguments.parts:  # first, while the process is small
        result["plan"] = measure_plan(1_000_000, 10**11, 1000)
        print("plan: " + ", ".join(f"{key} {value:,.1f}" for key, value in result["plan"].items()), flush=True)
    result["predictions"] = found = measure_predictions(arguments.parts, arguments.rows)
    if found:
        rows = [
            [label, f"{one['rows'] / one['ranks']:,.0f}", f"{one['rows'] / one['cpu']:,.0f}", f"{one['plan']:.1f}",
             f"{one['ranks']:.1f}", f"{one['commit']:.1f}", f"{one['peak_mib']:.0f}"]
            for label, one in found.items()
        ]  # fmt: skip
        print(common.table(["case", "rows/s", "rows/CPU s", "plan, s", "ranks, s", "commit, s", "peak MiB"], rows))
    print(f"written to {common.save_result('scale', result)}")


if __name__ == "__main__":
    main()
