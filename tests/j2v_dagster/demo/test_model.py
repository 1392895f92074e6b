"""The demo's model before any training: its schema, what it may see, and the calibration of its probabilities."""

from __future__ import annotations

import dataclasses
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from j2v_dagster.demo.model import ARR_DELAY, DAY_DELAY, LEG_SLOTS, TrainingSettings, build_model, undo_class_weights
from j2v_dagster.demo.observations import DAY_DELAYS, observe, read_sources
from j2v_dagster.demo.report import probabilities
from j2v_dagster.demo.shards import to_table
from json2vec import Address, Model


@pytest.fixture(scope="module")
def day() -> pl.DataFrame:
    return observe(read_sources(), date(2013, 1, 20), date(2013, 1, 20)).head(60)


@pytest.fixture
def model(day: pl.DataFrame) -> Model:
    torch.manual_seed(2013)
    model = build_model(dataclasses.replace(TrainingSettings(), d_model=8, batch_size=32))
    model.encode(to_table(day), strata="train")  # learns the vocabularies
    return model.eval()


def predict(model: Model, frame: pl.DataFrame) -> dict[Address, dict[str, Any]]:
    return model.predict(to_table(frame).to_pylist())


def test_both_targets_and_nothing_else_are_predicted(model: Model, day: pl.DataFrame) -> None:
    assert model.schema.target == [ARR_DELAY, DAY_DELAY] or set(model.schema.target) == {ARR_DELAY, DAY_DELAY}
    assert set(predict(model, day)) == {ARR_DELAY, DAY_DELAY}


def test_no_aircraft_day_has_more_legs_than_slots() -> None:
    flights = read_sources().flights
    assert flights.group_by("tailnum", "date").len()["len"].max() == LEG_SLOTS


def test_predictions_do_not_see_the_targets(model: Model, day: pl.DataFrame) -> None:
    """Whatever stands in the target columns, the predictions are the same numbers."""
    arr_delay = pl.element().struct.with_fields(arr_delay=pl.lit(None, pl.Int64))
    blind = day.with_columns(legs=pl.col("legs").list.eval(arr_delay), day_delay=pl.lit(None, pl.String))
    assert not blind.equals(day)
    seen, unseen = predict(model, day), predict(model, blind)
    assert seen == unseen


def test_probabilities_are_those_of_topk_by_label(model: Model, day: pl.DataFrame) -> None:
    content = predict(model, day)[Address(DAY_DELAY)]["content"]
    found = probabilities(pl.Series(content["topk"]))
    assert found.shape == (day.height, 3)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    assert [DAY_DELAYS[best] for best in found.argmax(axis=1)] == list(content["value"])


def test_undoing_class_weights_multiplies_odds_by_the_root_of_the_counts(model: Model, day: pl.DataFrame) -> None:
    def content() -> np.ndarray:
        return probabilities(pl.Series(predict(model, day)[Address(DAY_DELAY)]["content"]["topk"]))

    node: Any = model.nodes[DAY_DELAY]
    labels = list(model.vocabularies[Address(DAY_DELAY)].labels)
    counts = torch.tensor([{"on_time": 900, "late": 90, "cancelled": 9}.get(label, 1) for label in labels] + [1])
    node.embedder.counters["content"].counts[:] = counts[: len(node.embedder.counters["content"].counts)]
    before = content()
    undo_class_weights(model)
    expected = before * np.sqrt([900, 90, 9])
    assert np.allclose(content(), expected / expected.sum(axis=1, keepdims=True), atol=1e-5)


def test_fingerprint_follows_settings_days_and_shards() -> None:
    days, files = [date(2013, 1, 8)], [("part-0.parquet", 10)]
    first = TrainingSettings().fingerprint(days, files)
    assert first == TrainingSettings().fingerprint(days, files)
    others = {
        TrainingSettings(lr=0.5).fingerprint(days, files),
        TrainingSettings().fingerprint([date(2013, 1, 9)], files),
        TrainingSettings().fingerprint(days, [("part-0.parquet", 11)]),
    }
    assert len(others | {first}) == 4
