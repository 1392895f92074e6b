"""How long it takes, and how much memory, to plan a resume: ``python benchmarks/resume.py``.

Made-up snapshot and journals as a pipeline keeps them on disk; planning reads them as the pipeline does. By default
1e10 rows in 1e6 files, of which 1,000 ranks sealed 10 segments each before one in ten of the last segments was lost.
Linking and hashing the adopted files is not in it: that is one read of their bytes, whatever the number of rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import limit_threads, machine, peak_rss_mib, save_result

limit_threads()

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from j2v_dagster.shards.source import read_inputs, write_inputs  # noqa: E402
from json2vec.enums import Suffix  # noqa: E402
from json2vec.predict.job import PredictJob, plan_job  # noqa: E402
from json2vec.rank_files.manifest import SealedFile, Segment, journal_name, rows_name  # noqa: E402
from json2vec.rank_files.resume import choose_segments, find_segments, remaining  # noqa: E402
from json2vec.reading.plan import Plan  # noqa: E402
from json2vec.reading.row_hash import ROW_HASH  # noqa: E402
from json2vec.reading.snapshot import FILES_SCHEMA, Snapshot  # noqa: E402
from json2vec.storage.opening import open_store  # noqa: E402

_HEX = "0123456789abcdef" * 4


def make_up(root: Path, *, rows: int, files: int, ranks: int, segments: int) -> None:
    """A partition whose only attempt died: `_inputs.json` and a journal for each rank."""
    rng = np.random.default_rng(0)
    counts = np.full(files, rows // files, np.int64)
    counts[: rows - int(counts.sum())] += 1
    jitter = rng.integers(0, counts.min() // 2 + 1, files // 2)  # uneven files, the same sum
    counts[: files // 2] += jitter
    counts[files // 2 : files // 2 * 2] -= jitter
    table = pa.table(
        {"path": [f"part-{i:07d}-{_HEX[:16]}.parquet" for i in range(files)], "size": counts * 100,
         "version": [str(1_767_225_600_000_000_000 + i) for i in range(files)], "rows": counts},
        schema=FILES_SCHEMA,
    )  # fmt: skip
    columns = pa.schema([(f"column_{i}", pa.float64()) for i in range(20)])
    snapshot = Snapshot("/data/in/dt=2026-01-31", Suffix.parquet, table, columns)
    write_inputs(open_store(root), snapshot)
    plan = Plan(snapshot, ranks)
    folder = root / "attempts" / "a1"
    folder.mkdir(parents=True)
    for rank in range(ranks):
        ((start, stop),) = plan.share(rank)
        borders = np.linspace(start, stop, segments + 1).astype(int)
        lost = rank % 10 == 0
        lines = []
        for k in range(segments - lost):
            first, last = int(borders[k]), int(borders[k + 1])
            file = SealedFile(path=rows_name(rank, k, segmented=True), rows=last - first, bytes=1, sha256=_HEX,
                              segment=k, spans=((first, last),), attempt="a1")  # fmt: skip
            segment = Segment(
                attempt="a1", rank=rank, world_size=ranks, plan=plan.digest, snapshot=snapshot.digest, model=_HEX,
                schema=_HEX, row_hash=ROW_HASH, settings="s", file=file, rejected=None, quarantined=0,
            )  # fmt: skip
            lines.append(segment.dumps())
        (folder / journal_name(rank)).write_bytes(b"\n".join(lines) + b"\n")


def plan_resume(root: Path, ranks: int) -> dict[str, Any]:
    """Plan the next attempt, as the pipeline and each of its ranks do; seconds of each step."""
    seconds: dict[str, float] = {}
    before = time.perf_counter()

    def step(name: str) -> None:
        nonlocal before
        now = time.perf_counter()
        seconds[name] = round(now - before, 3)
        before = now

    snapshot = read_inputs(open_store(root), partition="p", asset="inputs")
    digest = snapshot.digest
    step("read the snapshot")
    found = find_segments([open_store(root / "attempts" / "a1")])
    step("read the journals")
    chosen, _ = choose_segments(found, snapshot=digest, settings="s")
    spans = [span for one in chosen for span in one.segment.file.spans]
    intervals = remaining(snapshot.rows, spans)
    step("choose segments")
    plan = Plan(snapshot, ranks, intervals)
    shares = [plan.share(rank) for rank in range(ranks)]
    step("share what is left")
    planned = peak_rss_mib()
    job = PredictJob(attempt="a2", checkpoint="m", checkpoint_sha256=_HEX, output=str(root), world_size=ranks,
                     snapshot=snapshot.to_json(), intervals=list(intervals))  # fmt: skip
    (root / "job.json").write_text(job.model_dump_json())
    step("write the job")
    written = peak_rss_mib()
    del job
    again = plan_job(PredictJob.read(root / "job.json"))
    assert again.digest == plan.digest
    step("read it in a rank")
    left = sum(stop - start for start, stop in intervals)
    assert left + sum(stop - start for start, stop in spans) == snapshot.rows
    assert sum(stop - start for share in shares for start, stop in share) == left
    return {
        "rows": snapshot.rows, "files": snapshot.files.num_rows, "segments": len(chosen), "rows_left": left,
        "intervals": len(intervals), "seconds": seconds, "peak_mib": planned, "peak_mib_with_job": written,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=1e10)
    parser.add_argument("--files", type=float, default=1e6)
    parser.add_argument("--ranks", type=int, default=1000)
    parser.add_argument("--segments", type=int, default=10, help="segments a rank")
    parser.add_argument("--plan-only", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan_only:
        print(json.dumps(plan_resume(options.plan_only, options.ranks)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_up(Path(folder), rows=int(options.rows), files=int(options.files), ranks=options.ranks,
                segments=options.segments)  # fmt: skip
        # A process of its own, so that making things up does not count.
        command = [sys.executable, __file__, "--plan-only", folder, "--ranks", str(options.ranks)]
        result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f"{result['rows']:,} rows in {result['files']:,} files; {result['segments']:,} sealed segments; "
          f"{result['rows_left']:,} rows in {result['intervals']:,} intervals are left")  # fmt: skip
    for name, seconds in result["seconds"].items():
        print(f"  {name:<20} {seconds:8.3f} s")
    planned = sum(list(result["seconds"].values())[:4])
    print(f"  planned after {planned:.1f} s; peak {result['peak_mib']:,.0f} MiB, with the job's file "
          f"{result['peak_mib_with_job']:,.0f} MiB")  # fmt: skip
    path = save_result("resume", {**result, "machine": machine()})
    print(f"saved to {path}")


if __name__ == "__main__":
    main()
