"""Day folders of Parquet shards: ``ROOT/dt=2013-02-01/part-0.parquet``, ``part-1.parquet``, ...

    python -m j2v_dagster.demo.shards --root demo-data/shards --first 2013-02-08 --last 2013-02-10

A day's folder appears all at once (written beside the root, then renamed), so that whoever watches the root never sees
half a day. The shards of a day differ in number and size, as they do where several services write.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import click
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from j2v_dagster.demo.observations import SCHEMA, observe, read_sources


@dataclass(frozen=True, slots=True)
class Day:
    """One partition on disk.

    Attributes:
        key: the day as ``YYYY-MM-DD``.
        rows: rows of each shard.
    """

    key: str
    rows: tuple[int, ...]


def days_between(first: date, last: date) -> list[date]:
    """Every day from ``first`` to ``last``, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def cut_sizes(rows: int, day: date) -> tuple[int, ...]:
    """Split a day's rows over 3 to 5 shards of which each is about half the size of the one before."""
    shards = 3 + day.toordinal() % 3
    sizes = [rows >> (n + 1) for n in range(shards)]
    sizes[0] += rows - sum(sizes)
    return tuple(size for size in sizes if size)


def write_day(root: Path, day: date) -> Day:
    """Write one day's folder, in place of an earlier one.

    Raises:
        ValueError: the data has no flights on that day.
    """
    table = to_table(observe(read_sources(), day, day))
    if not table.num_rows:
        raise ValueError(f"no flights on {day}: the data covers 2013-01-01 to 2013-12-31")
    folder = root / f"dt={day}"
    staged = root.with_name(f".{root.name}-dt={day}.tmp")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    sizes, start = cut_sizes(table.num_rows, day), 0
    for number, size in enumerate(sizes):
        pq.write_table(table.slice(start, size), staged / f"part-{number}.parquet", compression="zstd")
        start += size
    root.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(staged, folder)
    return Day(str(day), sizes)


def read_day(root: Path, day: date) -> Day | None:
    """What is on disk of a day, from the shards' footers; None where the folder is missing."""
    files = sorted((root / f"dt={day}").glob("part-*.parquet"))
    return Day(str(day), tuple(pq.read_metadata(file).num_rows for file in files)) if files else None


def write_missing(root: Path, days: Iterable[date]) -> list[Day]:
    """Write the days that are not there yet. A day that is there keeps its files, and so its data version."""
    return [read_day(root, day) or write_day(root, day) for day in days]


def read_days(root: Path, days: Sequence[date]) -> pl.DataFrame:
    """All observations of some days, from their shards."""
    return pl.concat([pl.read_parquet(root / f"dt={day}" / "part-*.parquet", hive_partitioning=False) for day in days])


def to_table(frame: pl.DataFrame) -> pa.Table:
    """Polars' frame with the plain Arrow types of `SCHEMA`."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(SCHEMA)


@click.command(context_settings={"max_content_width": 100})
@click.option(
    "--root", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-data/shards"), show_default=True,
    metavar="FOLDER", help="Folder of the day folders.",
)  # fmt: skip
@click.option(
    "--first", type=click.DateTime(["%Y-%m-%d"]), required=True, metavar="YYYY-MM-DD", help="First day, in 2013."
)
@click.option(
    "--last", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="Last day.  [default: the first day]"
)
def main(root: Path, first: datetime, last: datetime | None) -> None:
    """Write days of the flights example as Parquet shards.

    \b
    Example:
      python -m j2v_dagster.demo.shards --first 2013-02-08 --last 2013-02-10
    """
    for day in write_missing(root, days_between(first.date(), (last or first).date())):
        sizes = ", ".join(map(str, day.rows))
        print(f"{root}/dt={day.key}: {sum(day.rows)} rows in {len(day.rows)} shards ({sizes})")


if __name__ == "__main__":
    main(prog_name="python -m j2v_dagster.demo.shards")
