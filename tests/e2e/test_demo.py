"""The demo as a newcomer runs it, on fewer days: real shards, training, torchrun with two ranks, checks, DuckDB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pytest

pytestmark = pytest.mark.slow

DAYS = ("2013-02-01", "2013-02-02")


@dataclass(frozen=True)
class Finished:
    data: Path
    code: int
    output: str


def run_demo(data: Path, *options: str) -> Finished:
    command = [
        sys.executable, "-m", "j2v_dagster.demo.run", "--data", str(data), "--first", DAYS[0], "--last", DAYS[1],
        "--epochs", "1", *options,
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "J2V_DEMO_DATA")}
    done = subprocess.run(
        command, env=environment, text=True, timeout=600, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return Finished(data, done.returncode, done.stdout)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run_demo(tmp_path_factory.mktemp("demo"))


def table(data: Path) -> pl.DataFrame:
    with duckdb.connect(str(data / "warehouse.duckdb"), read_only=True) as connection:
        return connection.sql("SELECT * FROM flight_days ORDER BY observation_id").pl()


def shards(data: Path) -> pl.DataFrame:
    return pl.concat([
        pl.read_parquet(data / f"shards/dt={day}/*.parquet", hive_partitioning=False) for day in DAYS
    ]).sort("observation_id")  # fmt: skip


def attempts(data: Path) -> list[Path]:
    return sorted(data.glob("predictions/dt=*/attempts/*"))


def test_every_row_of_every_shard_is_in_the_warehouse_once(first: Finished) -> None:
    assert first.code == 0, first.output
    rows, inputs = table(first.data), shards(first.data)
    assert rows["observation_id"].to_list() == inputs["observation_id"].to_list()
    assert rows["tailnum"].to_list() == inputs["tailnum"].to_list()
    assert rows["day_delay"].is_in(["on_time", "late", "cancelled"]).all()
    assert rows["day_delay_probability"].is_between(1 / 3 - 1e-6, 1).all()
    assert (rows["partition"] == rows["date"].cast(pl.String)).all()


def test_each_row_names_the_shard_and_row_it_came_from(first: Finished) -> None:
    rows = table(first.data)
    for (day, file), part in rows.partition_by("partition", "source_file", as_dict=True).items():
        read = pl.read_parquet(first.data / f"shards/dt={day}" / str(file), hive_partitioning=False)
        assert part.sort("source_row")["observation_id"].to_list() == read["observation_id"].to_list()


def test_two_ranks_wrote_each_partition(first: Finished) -> None:
    for attempt in attempts(first.data):
        manifest = json.loads((attempt / "_manifest.json").read_text())
        assert sorted(file["rank"] for file in manifest["files"]) == [0, 1]
        counts = [file["rows"] for file in manifest["files"]]
        assert max(counts) - min(counts) <= 1
    assert len(attempts(first.data)) == len(DAYS)


def test_report_says_what_happened(first: Finished) -> None:
    inputs = shards(first.data)
    for day in DAYS:
        rows = inputs.filter(pl.col("date").cast(pl.String) == day).height
        line = next(line for line in first.output.splitlines() if line.startswith(day)).split()
        assert line[2:7] == [str(rows), "2", "4/4", "passed", str(rows)]
    for name in ("majority class", "base rate", "LightGBM", "json2vec model"):
        assert sum(line.startswith(name) for line in first.output.splitlines()) == 1, first.output


def test_a_second_run_changes_nothing(first: Finished) -> None:
    before, tried = table(first.data), attempts(first.data)
    kept = {
        path: path.stat().st_mtime_ns
        for path in [first.data / "model.ckpt", *first.data.glob("shards/*/*.parquet")]
    }  # fmt: skip
    second = run_demo(first.data)
    assert second.code == 0, second.output
    assert table(first.data).equals(before)
    assert attempts(first.data) == tried
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_rewritten_day_is_predicted_again_and_only_that_one(first: Finished) -> None:
    shard = first.data / f"shards/dt={DAYS[0]}/part-0.parquet"
    pl.read_parquet(shard, hive_partitioning=False).head(-1).write_parquet(shard)
    tried = attempts(first.data)
    done = run_demo(first.data)
    new = [path for path in attempts(first.data) if path not in tried]
    assert done.code == 0, done.output
    assert [path.parents[1].name for path in new] == [f"dt={DAYS[0]}"]
    assert table(first.data)["observation_id"].to_list() == shards(first.data)["observation_id"].to_list()
