"""Faults 15, 18 and 19: processors and shards that are not what they should be."""

from __future__ import annotations

import conftest as faults  # type: ignore[import-not-found]
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.faults]


def test_15_a_batch_that_returns_one_prediction_too_few(station) -> None:
    before = station.table()
    columns = {"request_id": "inputs.request_id", "label": 'predictions["record/row"].label'}
    faults.arm("one short")
    outcome = station.run(postprocessor="injected:one_short", columns=columns)
    assert not outcome.success
    assert "record/row" in outcome.errors
    assert "31" in outcome.errors
    assert "32" in outcome.errors
    assert station.table() == before


def test_18_a_shard_that_changes_during_the_run(station) -> None:
    before = station.table()
    frozen = station.run(only=("input_shards", "model_checkpoint"))
    assert frozen.success, frozen.errors
    faults.records(77, 150).write_parquet(station.shards / "part-0.parquet")
    outcome = station.run(only=("prediction_rank_files", "predictions"))
    assert not outcome.success
    assert "part-0.parquet" in outcome.errors
    assert station.table() == before
    again = station.run()
    assert again.success, again.errors
    assert [row[1] for row in station.table()] == station.expected_ids()


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign"])
def test_19_a_corrupt_shard_is_an_error_that_names_it(station, damage) -> None:
    path = station.shards / "part-1.parquet"
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "foreign": b"<html>404</html>"}[damage])
    before = station.table()
    outcome = station.run()
    assert not outcome.success
    assert "part-1.parquet" in outcome.errors
    assert station.table() == before
    path.write_bytes(whole)
    again = station.run()
    assert again.success, again.errors
    assert [row[1] for row in station.table()] == station.expected_ids()


def test_19_a_shard_corrupt_in_the_middle_is_caught_while_it_is_read(station) -> None:
    path = station.shards / "part-0.parquet"
    data = bytearray(path.read_bytes())
    data[40:400] = bytes(360)  # the footer stays readable, the first pages are not
    path.write_bytes(bytes(data))
    before = station.table()
    outcome = station.run()
    assert not outcome.success
    assert "part-0.parquet" in outcome.errors
    assert station.table() == before


def test_19_odd_names_just_work(station) -> None:
    for index, name in enumerate(("a#b", "c?d", "e f", "ü", "%2F", "100%")):
        faults.records(50 + index, 5).write_parquet(station.shards / f"{name}.parquet")
    outcome = station.run()
    assert outcome.success, outcome.errors
    assert len(station.table()) == 150 + 90 + 7 + 30
