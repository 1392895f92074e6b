"""The demo from raw data to a table: ``make demo``, ``j2v-dagster demo`` or ``python -m j2v_dagster.demo.run``.

Everything it makes lies in one folder (default ``demo-data``). What is there already and still right is kept: days of
shards, the checkpoint while its settings are the same, partitions while shards and checkpoint are.

    shards/dt=2013-02-01/part-0.parquet    model.ckpt  model.json     predictions/dt=2013-02-01/attempts/...
    warehouse.duckdb                       dagster_home/              scores.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from j2v_dagster.demo import report
from j2v_dagster.demo.model import Settings, train_model
from j2v_dagster.demo.runs import is_done, open_instance, predict_days
from j2v_dagster.demo.shards import days_between, read_days, write_missing
from j2v_dagster.steps.pipeline import checkpoint_sha256
from json2vec.errors import missing_extra

TRAIN = (date(2013, 1, 8), date(2013, 1, 28))  # three weeks; the first week of the year only serves as history
PREDICT = (date(2013, 2, 1), date(2013, 2, 7))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="j2v-dagster demo", description="The flights example, end to end.")
    parser.add_argument("--data", type=Path, default=Path("demo-data"), help="folder for all it makes")
    parser.add_argument("--first", type=date.fromisoformat, default=PREDICT[0], help="first day to predict, YYYY-MM-DD")
    parser.add_argument("--last", type=date.fromisoformat, default=PREDICT[1], help="last day to predict, YYYY-MM-DD")
    parser.add_argument("--epochs", type=int, default=Settings().epochs, help="passes over the training days")
    parser.add_argument("--again", action="store_true", help="predict again what is there and still right")
    options = parser.parse_args(arguments)
    if missing := missing_extra("demo", "the demo"):  # before minutes of work, not after them
        print(missing, file=sys.stderr)
        return 1
    started = time.monotonic()
    data = options.data.absolute()
    train, predict = days_between(*TRAIN), days_between(options.first, options.last)
    settings = Settings(epochs=options.epochs)

    make_shards(data, [*train, *predict])
    make_model(data, settings, train)
    with open_instance(data) as instance:
        todo = [day for day in predict if options.again or not is_done(data, day)]
        if len(todo) < len(predict):
            kept = len(predict) - len(todo)
            note(f"{kept} of {len(predict)} days are predicted from these shards with this checkpoint already")
        if todo:
            predict_days(progress(todo, "predict", "day"), instance)
        results = [report.read_result(data, str(day), instance) for day in predict]
    print_report(data, results, train, predict, settings.threads)
    print(f"\nAll of it took {time.monotonic() - started:.0f} s. See it in the Dagster UI: make ui")
    return 0


def make_shards(data: Path, days: Sequence[date]) -> None:
    """Write the days that are missing."""
    written = write_missing(data / "shards", progress(days, "shards", "day"))
    rows, shards = sum(sum(day.rows) for day in written), sum(len(day.rows) for day in written)
    note(f"{len(written)} days, {rows:,} aircraft-days in {shards} shards below {data / 'shards'}")


def make_model(data: Path, settings: Settings, days: Sequence[date]) -> None:
    """Train and save the model, unless the checkpoint is of these settings, days and shards."""
    checkpoint, record = data / "model.ckpt", data / "model.json"
    root = data / "shards"
    shards = [path for day in days for path in sorted((root / f"dt={day}").glob("part-*.parquet"))]
    fingerprint = settings.fingerprint(days, [(path.name, path.stat().st_size) for path in shards])
    known = json.loads(record.read_text()) if record.exists() and checkpoint.exists() else {}
    if known.get("fingerprint") == fingerprint and known.get("sha256") == checkpoint_sha256(checkpoint):
        note(f"{checkpoint} is of these settings and shards already (trained in {known['seconds']:.0f} s)")
        return
    started = time.monotonic()
    train_model(settings, root, days).save(checkpoint)
    seconds = time.monotonic() - started
    content = {
        "fingerprint": fingerprint, "sha256": checkpoint_sha256(checkpoint), "seconds": seconds,
        "settings": asdict(settings), "days": [str(day) for day in days],
    }  # fmt: skip
    record.write_text(json.dumps(content, indent=1))
    note(f"trained on {days[0]} to {days[-1]} in {seconds:.0f} s with {settings.threads} threads: {checkpoint}")


def print_report(
    data: Path, results: Sequence[report.PartitionResult], train: Sequence[date], predict: Sequence[date], threads: int
) -> None:
    """Print both tables, and keep the scores in ``scores.json``."""
    seen, truth = read_days(data / "shards", train), read_days(data / "shards", predict)
    table = report.read_table(data / "warehouse.duckdb", [str(day) for day in predict])
    scores = report.score_all(seen, truth, table, threads)
    constant, model = report.leg_errors(seen, truth, table)
    print(f"\n{report.partition_table(results)}\n")
    print(f"{report.score_table(scores)}\n")
    print(
        f"{truth.height:,} aircraft-days of {predict[0]} to {predict[-1]}; trained on {seen.height:,} of {train[0]} to "
        f"{train[-1]}. Each leg's arr_delay, mean absolute error: {model:.1f} minutes; the training median gives "
        f"{constant:.1f}."
    )
    kept = {"scores": [asdict(one) for one in scores], "leg_mae_minutes": {"model": model, "median": constant}}
    (data / "scores.json").write_text(json.dumps(kept, indent=1))


def progress(items: Sequence[Any], what: str, unit: str) -> Iterable[Any]:
    """A progress bar on stderr."""
    from tqdm import tqdm

    return tqdm(items, desc=f"{what:8}", unit=unit, file=sys.stderr, disable=not items)


def note(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
