"""What the model's predictions are measured against: two guesses that see no input, and LightGBM on flattened columns.

Every score is on the same days and rows, with probabilities clipped to at least 1e-6 before the logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from j2v_dagster.demo.observations import DAY_DELAYS, RECENT_LEGS

FLOOR = 1e-6
LEG_SLOTS = 5  # no aircraft has more legs from New York on one day
SEED = 2013


@dataclass(frozen=True, slots=True)
class Score:
    """How good some probabilities are.

    Attributes:
        name: whose they are.
        log_loss: mean negative log likelihood of the true class, in nats; lower is better.
        accuracy: share of rows whose most probable class is the true one.
    """

    name: str
    log_loss: float
    accuracy: float


def score(name: str, truth: pl.Series, probabilities: np.ndarray) -> Score:
    """Score probabilities of shape (rows, classes), classes in the order of `DAY_DELAYS`, against the true labels."""
    classes = _classes(truth)
    if probabilities.shape != (len(classes), len(DAY_DELAYS)):
        raise ValueError(
            f"{name}: probabilities have shape {probabilities.shape}; expected {(len(classes), len(DAY_DELAYS))}"
        )
    clipped = np.clip(probabilities, FLOOR, None)
    clipped = clipped / clipped.sum(axis=1, keepdims=True)
    loss = -np.log(clipped[np.arange(len(classes)), classes]).mean()
    return Score(name, float(loss), float((probabilities.argmax(axis=1) == classes).mean()))


def majority_class(train: pl.DataFrame, rows: int) -> np.ndarray:
    """All probability on the most frequent class of the training days."""
    return np.tile(np.eye(len(DAY_DELAYS))[_rates(train).argmax()], (rows, 1))


def base_rate(train: pl.DataFrame, rows: int) -> np.ndarray:
    """The training days' class frequencies, for every row."""
    return np.tile(_rates(train), (rows, 1))


def light_gbm(train: pl.DataFrame, predict: pl.DataFrame, threads: int) -> np.ndarray:
    """Probabilities of a LightGBM classifier on `flatten`ed columns.

    It stops growing by its loss on the last fifth of the training days, and is then trained on all of them.
    """
    import lightgbm as lgb

    flat = flatten(pl.concat([train, predict]))
    features, target = flat[: train.height], _classes(train["day_delay"])
    settings: dict[str, Any] = {
        "objective": "multiclass", "num_class": len(DAY_DELAYS), "learning_rate": 0.03, "num_leaves": 15,
        "min_data_in_leaf": 40, "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1,
        "lambda_l2": 5.0, "num_threads": threads, "seed": SEED, "deterministic": True, "verbosity": -1,
    }  # fmt: skip
    days = train["date"].unique().sort()
    held_out = (train["date"] >= days[-max(1, len(days) // 5)]).to_numpy()
    fitting = lgb.Dataset(features.filter(~held_out).to_pandas(), target[~held_out])
    watching = lgb.Dataset(features.filter(held_out).to_pandas(), target[held_out], reference=fitting)
    tried = lgb.train(settings, fitting, 1000, valid_sets=[watching], callbacks=[lgb.early_stopping(50, verbose=False)])
    final = lgb.train(settings, lgb.Dataset(features.to_pandas(), target), max(1, tried.best_iteration))
    return np.asarray(final.predict(flat[train.height :].to_pandas()))


def flatten(frame: pl.DataFrame) -> pl.DataFrame:
    """The model's inputs as flat columns: a column a slot, and what a person would think of to add up over slots.

    Text becomes a pandas category. Targets and identifiers are left out.
    """
    legs, recent = pl.col("legs"), pl.col("recent")
    first = legs.list.eval(pl.element().struct.field("sched_dep")).list.first()
    delays = {
        name: recent.list.eval(pl.element().struct.field(name)).cast(pl.List(pl.Float64))
        for name in ("dep_delay", "arr_delay")
    }
    yesterday = recent.list.eval(pl.element().filter(pl.element().struct.field("days_ago") == 1))
    flat = frame.select(
        pl.col("date").dt.weekday().alias("weekday"),
        pl.col("plane").struct.unnest(),
        pl.col("weather").struct.unnest().name.prefix("weather_"),
        legs.list.len().alias("legs"),
        legs.list.eval(pl.element().struct.field("distance")).list.sum().alias("distance"),
        (first.dt.hour() * 60 + first.dt.minute()).alias("first_minute"),
        recent.list.len().alias("recent"),
        yesterday.list.len().alias("yesterday_legs"),
        yesterday.list.eval(pl.element().struct.field("arr_delay")).list.max().alias("yesterday_worst"),
        *(values.list.mean().alias(f"{name}_mean") for name, values in delays.items()),
        *(values.list.max().alias(f"{name}_max") for name, values in delays.items()),
        *_slots(legs, "leg", LEG_SLOTS, ("carrier", "origin", "dest", "distance")),
        *(_minute(legs, slot) for slot in range(LEG_SLOTS)),
        *_slots(recent, "recent", RECENT_LEGS, ("days_ago", "origin", "dest", "dep_delay", "arr_delay")),
    )
    return flat.with_columns(pl.col(pl.String).cast(pl.Categorical))


def _slots(array: pl.Expr, prefix: str, length: int, names: tuple[str, ...]) -> list[pl.Expr]:
    return [
        array.list.get(slot, null_on_oob=True).struct.field(name).alias(f"{prefix}{slot}_{name}")
        for slot in range(length)
        for name in names
    ]


def _minute(legs: pl.Expr, slot: int) -> pl.Expr:
    departs = legs.list.get(slot, null_on_oob=True).struct.field("sched_dep")
    return (departs.dt.hour().cast(pl.Int32) * 60 + departs.dt.minute()).alias(f"leg{slot}_minute")


def _classes(labels: pl.Series) -> np.ndarray:
    return labels.replace_strict(list(DAY_DELAYS), range(len(DAY_DELAYS)), return_dtype=pl.Int64).to_numpy()


def _rates(train: pl.DataFrame) -> np.ndarray:
    return np.bincount(_classes(train["day_delay"]), minlength=len(DAY_DELAYS)) / train.height
