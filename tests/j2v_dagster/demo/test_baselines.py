"""Scores by hand, and baselines on a few real days."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import polars as pl
import pytest

from j2v_dagster.demo.baselines import FLOOR, base_rate, flatten, light_gbm, majority_class, score
from j2v_dagster.demo.observations import observe, read_sources


@pytest.fixture(scope="module")
def days() -> pl.DataFrame:
    return observe(read_sources(), date(2013, 1, 8), date(2013, 1, 14))


def test_score_by_hand() -> None:
    truth = pl.Series(["on_time", "late", "cancelled", "late"])
    probabilities = np.array([[0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.5, 0.25, 0.25]])
    result = score("hand", truth, probabilities)
    assert result.log_loss == pytest.approx(-(math.log(0.5) + math.log(0.7) + math.log(0.1) + math.log(0.25)) / 4)
    assert result.accuracy == 0.5


def test_a_certain_and_wrong_guess_costs_the_floor() -> None:
    wrong = score("x", pl.Series(["late"]), np.array([[1.0, 0.0, 0.0]]))
    assert wrong.log_loss == pytest.approx(-math.log(FLOOR), rel=1e-6)
    assert wrong.accuracy == 0


def test_probabilities_of_another_shape_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \(1, 3\)"):
        score("x", pl.Series(["late"]), np.ones((2, 3)))


def test_guesses_without_inputs_follow_the_training_days() -> None:
    train = pl.DataFrame({"day_delay": ["late", "on_time", "on_time", "cancelled"]})
    assert majority_class(train, 2).tolist() == [[1, 0, 0]] * 2
    assert base_rate(train, 2).tolist() == [[0.5, 0.25, 0.25]] * 2


def test_flat_columns_hold_no_target(days: pl.DataFrame) -> None:
    """Changing both targets changes no column."""
    legs = pl.col("legs").list.eval(pl.element().struct.with_fields(arr_delay=pl.lit(999, pl.Int64)))
    changed = days.with_columns(legs=legs, day_delay=pl.lit("late"))
    assert not changed["legs"].equals(days["legs"])
    assert flatten(changed).equals(flatten(days))


def test_light_gbm_beats_the_base_rate(days: pl.DataFrame) -> None:
    train, predict = days.filter(pl.col("date") < date(2013, 1, 14)), days.filter(pl.col("date") == date(2013, 1, 14))
    probabilities = light_gbm(train, predict, threads=1)
    assert probabilities.shape == (predict.height, 3)
    assert np.allclose(probabilities.sum(axis=1), 1)
    learned = score("lightgbm", train["day_delay"], light_gbm(train, train, threads=1))
    assert learned.log_loss < score("base", train["day_delay"], base_rate(train, train.height)).log_loss
