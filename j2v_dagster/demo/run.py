"""The demo from raw data to a table: ``make demo``, ``j2v-dagster demo`` or ``python -m j2v_dagster.demo.run``.

Everything it makes lies in one folder (default ``demo-data``). What is there already and still right is kept: days of
shards, the checkpoint while its settings are the same, partitions while shards and checkpoint are.

    shards/dt=2013-02-01/part-0.parquet    model.ckpt  model.json     predictions/dt=2013-02-01/attempts/...
    warehouse.duckdb                       dagster_home/              scores.json
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from json2vec.errors import missing_extra

# `j2v-dagster --help` imports this module: what needs polars, torch or dagster is imported where it is used.
if TYPE_CHECKING:
    from j2v_dagster.demo.model import TrainingSettings
    from j2v_dagster.demo.report import PartitionResult

TRAIN = (date(2013, 1, 8), date(2013, 1, 28))  # three weeks; the first week of the year only serves as history
PREDICT = (date(2013, 2, 1), date(2013, 2, 7))


@click.command("demo", context_settings={"max_content_width": 100})
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-data"), show_default=True,
    metavar="FOLDER", help="Folder for all it makes.",
)  # fmt: skip
@click.option(
    "--first", type=click.DateTime(["%Y-%m-%d"]), default=str(PREDICT[0]), show_default=True, metavar="YYYY-MM-DD",
    help="First day to predict, in 2013.",
)  # fmt: skip
@click.option(
    "--last", type=click.DateTime(["%Y-%m-%d"]), default=str(PREDICT[1]), show_default=True, metavar="YYYY-MM-DD",
    help="Last day to predict, in 2013.",
)  # fmt: skip
@click.option(
    "--epochs", type=click.IntRange(min=1), metavar="COUNT", help="Passes over the training days.  [default: 4]"
)
@click.option("--again", is_flag=True, help="Predict again what is there and still right.")
def demo(data: Path, first: datetime, last: datetime, epochs: int | None, again: bool) -> int:
    """Run the flights example, from raw data to a table.

    It writes shards, trains a model, predicts day by day with every check, loads a DuckDB table and prints scores.
    What is there already and still right is kept.

    \b
    Example:
      j2v-dagster demo --data demo-data --first 2013-02-01 --last 2013-02-03
    """
    if last < first:
        raise click.UsageError(f"--last is {last:%Y-%m-%d}; expected --first ({first:%Y-%m-%d}) or a later day.")
    if missing := missing_extra("demo", "the demo"):  # before minutes of work, not after them
        click.echo(missing, err=True)
        click.get_current_context().exit(1)
    from j2v_dagster.demo.model import TrainingSettings
    from j2v_dagster.demo.report import read_result
    from j2v_dagster.demo.runs import is_done, open_instance, predict_days
    from j2v_dagster.demo.shards import days_between

    started = time.monotonic()
    data = data.absolute()
    train, predict = days_between(*TRAIN), days_between(first.date(), last.date())
    settings = TrainingSettings() if epochs is None else TrainingSettings(epochs=epochs)

    make_shards(data, [*train, *predict])
    make_model(data, settings, train)
    with open_instance(data) as instance:
        todo = [day for day in predict if again or not is_done(data, day)]
        if len(todo) < len(predict):
            kept = len(predict) - len(todo)
            note(f"{kept} of {len(predict)} days are predicted from these shards with this checkpoint already")
        if todo:
            predict_days(progress(todo, "predict", "day"), instance)
        results = [read_result(data, str(day), instance) for day in predict]
    print_report(data, results, train, predict, settings.threads)
    print(f"\nAll of it took {time.monotonic() - started:.0f} s. See it in the Dagster UI: make ui")
    return 0


def make_shards(data: Path, days: Sequence[date]) -> None:
    """Write the days that are missing."""
    from j2v_dagster.demo.shards import write_missing

    written = write_missing(data / "shards", progress(days, "shards", "day"))
    rows, shards = sum(sum(day.rows) for day in written), sum(len(day.rows) for day in written)
    note(f"{len(written)} days, {rows:,} aircraft-days in {shards} shards below {data / 'shards'}")


def make_model(data: Path, settings: TrainingSettings, days: Sequence[date]) -> None:
    """Train and save the model, unless the checkpoint is of these settings, days and shards."""
    from j2v_dagster.demo.model import train_model
    from j2v_dagster.steps.pipeline import checkpoint_sha256

    checkpoint, record = data / "model.ckpt", data / "model.json"
    root = data / "shards"
    shards = [path for day in days for path in sorted((root / f"dt={day}").glob("part-*.parquet"))]
    fingerprint = settings.fingerprint(days, [(path.name, path.stat().st_size) for path in shards])
    saved = json.loads(record.read_text()) if record.exists() and checkpoint.exists() else {}
    if saved.get("fingerprint") == fingerprint and saved.get("sha256") == checkpoint_sha256(checkpoint):
        note(f"{checkpoint} is of these settings and shards already (trained in {saved['seconds']:.0f} s)")
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
    data: Path, results: Sequence[PartitionResult], train: Sequence[date], predict: Sequence[date], threads: int
) -> None:
    """Print both tables, and keep the scores in ``scores.json``."""
    from j2v_dagster.demo import report
    from j2v_dagster.demo.shards import read_days

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
    kept = {"scores": [asdict(score) for score in scores], "leg_mae_minutes": {"model": model, "median": constant}}
    (data / "scores.json").write_text(json.dumps(kept, indent=1))


def progress(items: Sequence[Any], label: str, unit: str) -> Iterable[Any]:
    """A progress bar on stderr."""
    from tqdm import tqdm

    return tqdm(items, desc=f"{label:8}", unit=unit, file=sys.stderr, disable=not items)


def note(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    demo(prog_name="python -m j2v_dagster.demo.run")
