"""A bounded part of the rows, spread over the files."""

from __future__ import annotations

import itertools

import polars as pl
import pytest

import json2vec as j2v
from json2vec.profile.sampling import spread


def test_a_model_without_vocabularies_reads_a_bounded_part() -> None:
    model = j2v.Model.from_schema(j2v.Number("n", target=True), j2v.Number("m"), d_model=8, n_layers=1, n_heads=2)
    frame = pl.DataFrame({"n": [1.0] * 1000, "m": [float(i) for i in range(1000)]})
    data = j2v.PolarsDataModule(model, train=frame)
    data.setup("fit")
    assert model.profile is not None
    assert model.profile.rows == 1000
    assert data.learn_profile(rows=100).rows == 100
    numbers = model.profile.leaves["record/m"].numbers
    assert numbers is not None
    assert numbers.max == 999.0  # spread, not the first ones
    assert "record/n" not in model.profile.leaves


@pytest.mark.parametrize(("rows_", "wanted"), [(0, 5), (5, 0), (3, 10), (10, 3), (1000, 999), (100_000, 64)])
def test_spread(rows_: int, wanted: int) -> None:
    ranges = spread(rows_, wanted) if wanted else []
    assert sum(stop - start for start, stop in ranges) == min(rows_, wanted)
    assert all(start < stop for start, stop in ranges)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges))
    if ranges and wanted > 1:
        assert (ranges[0][0], ranges[-1][1]) == (0, rows_)
