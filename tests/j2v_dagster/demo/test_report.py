"""The demo's tables, from small frames whose numbers are known."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from j2v_dagster.demo.report import (
    PartitionResult,
    count_rows,
    format_table,
    leg_errors,
    partition_table,
    probabilities,
    read_table,
    score_all,
)


def topk(**probability: float) -> list[dict[str, object]]:
    return [{"label": label, "probability": value} for label, value in probability.items()]


def test_probabilities_go_by_label_whatever_their_order() -> None:
    series = pl.Series([topk(late=0.5, on_time=0.3, cancelled=0.2), topk(on_time=1.0)])
    assert np.allclose(probabilities(series), [[0.3, 0.5, 0.2], [1.0, 0.0, 0.0]])


def test_table_lines_up() -> None:
    text = format_table(("name", "rows"), [("a", 1234), ("long name", 5)])
    assert text.splitlines() == ["name        rows", "---------  -----", "a          1,234", "long name      5"]


def test_partition_table_shows_unknown_speed_as_a_dash() -> None:
    line = partition_table([PartitionResult("2013-02-01", 5, 677, 2, "4/4 passed", 677, None)]).splitlines()[-1]
    assert line.split() == ["2013-02-01", "5", "677", "2", "4/4", "passed", "677", "-"]


def test_scores_need_exactly_the_days_observations() -> None:
    truth = pl.DataFrame({"observation_id": ["a", "b"], "day_delay": ["late", "on_time"]})
    table = pl.DataFrame({"observation_id": ["a"], "day_delay_topk": [topk(late=1.0)]})
    with pytest.raises(ValueError, match="1 rows in the warehouse, 2 observations, 1 in both"):
        score_all(truth, truth, table, threads=1)


def test_leg_errors_skip_cancelled_legs_and_empty_slots() -> None:
    def legs(*delays: int | None) -> list[dict[str, int | None]]:
        return [{"arr_delay": delay} for delay in delays]

    train = pl.DataFrame({"legs": [legs(0, 10, 20), legs(None)]})
    truth = pl.DataFrame({"observation_id": ["a", "b"], "legs": [legs(10, None), legs(40)]})
    table = pl.DataFrame({"observation_id": ["b", "a"], "legs_arr_delay": [[30.0, 99.0, 99.0], [12.0, 99.0, 99.0]]})
    constant, model = leg_errors(train, truth, table)
    assert constant == pytest.approx((0 + 30) / 2)
    assert model == pytest.approx((2 + 10) / 2)


def test_warehouse_rows_of_a_partition(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    assert count_rows(path, "x") == 0
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT 1").fetchall()
    assert count_rows(path, "x") == 0
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE flight_days (observation_id VARCHAR, partition VARCHAR)")
        connection.execute("INSERT INTO flight_days VALUES ('b', 'x'), ('a', 'x'), ('c', 'y')")
    assert (count_rows(path, "x"), count_rows(path, "y"), count_rows(path, "o'z")) == (2, 1, 0)
    assert read_table(path, ["x"])["observation_id"].to_list() == ["a", "b"]
