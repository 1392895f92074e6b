"""Samples of large columns are even and bounded."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import json2vec as j2v
from json2vec.profile.counters import SAMPLED
from json2vec.profile.profiler import Profiler


def test_large_samples_are_even_and_bounded() -> None:
    model = j2v.Model.from_schema(j2v.Number("n"), d_model=8, n_layers=1, n_heads=2)
    profiler = Profiler(model.schema, model.vocabularies)
    values = np.tile([0.0, 1.0], 50_000) + np.linspace(0, 10, 100_000)
    for start in range(0, len(values), 7000):
        profiler.update(pa.RecordBatch.from_arrays([pa.array(values[start : start + 7000])], names=["n"]))
    numbers = profiler.finish(pa.schema([("n", pa.float64())])).leaves["record/n"].numbers
    assert numbers is not None
    assert numbers.count == 100_000
    assert SAMPLED / 4 < sum(numbers.bins) <= SAMPLED
    assert numbers.quantiles == pytest.approx(np.quantile(values, [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]), abs=0.3)
    # Every second value is one higher: an even sample has as many of either kind.
    assert abs(sum(numbers.bins[:5]) / sum(numbers.bins) - 0.5) < 0.03
