"""Day folders: whole, uneven, and left alone when they are there already."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from j2v_dagster.demo.observations import SCHEMA, observe, read_sources
from j2v_dagster.demo.shards import cut_sizes, days_between, read_day, read_days, write_day, write_missing

DAY = date(2013, 1, 20)


def test_days_between_includes_both_ends() -> None:
    assert days_between(DAY, date(2013, 1, 22)) == [DAY, date(2013, 1, 21), date(2013, 1, 22)]


@pytest.mark.parametrize("rows", [1, 2, 7, 690])
def test_sizes_add_up_and_differ(rows: int) -> None:
    sizes = cut_sizes(rows, DAY)
    assert sum(sizes) == rows
    assert all(size > 0 for size in sizes)
    assert rows < 690 or (len(sizes) >= 3 and len(set(sizes)) == len(sizes))


def test_a_day_is_several_uneven_parquet_files_with_all_rows(tmp_path: Path) -> None:
    root = tmp_path / "shards"
    day = write_day(root, DAY)
    files = sorted((root / "dt=2013-01-20").iterdir())
    assert [pq.read_metadata(file).num_rows for file in files] == list(day.rows)
    assert len(set(day.rows)) == len(day.rows) >= 3
    assert all(pq.read_schema(file).equals(SCHEMA) for file in files)
    assert read_days(root, [DAY]).equals(observe(read_sources(), DAY, DAY))
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]  # nothing half-written is left


def test_a_day_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    first = write_missing(tmp_path, [DAY])
    versions = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.parquet")}
    assert write_missing(tmp_path, [DAY]) == first
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.parquet")} == versions


def test_a_day_outside_the_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no flights on 2014-01-20"):
        write_day(tmp_path, date(2014, 1, 20))
    assert read_day(tmp_path, date(2014, 1, 20)) is None
