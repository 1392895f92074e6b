"""Nodes: what cannot be meant is named, and names are forgiven their spelling."""

from __future__ import annotations

import pytest
from built_schema import build

import json2vec as j2v


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: j2v.Number("x", n_band=3), "did you mean 'n_bands'"),
        (lambda: j2v.Number("a b"), "letters, digits"),
        (lambda: j2v.Number("x", n_heads=3), "even"),
        (lambda: j2v.Number("x", name="y"), "two names"),
        (lambda: j2v.Number("x", target=True, p_prune=0.5), "shorthand"),
        (lambda: j2v.Category("x", topk=[1]), "between 2"),
        (lambda: j2v.DateParts("x", dateparts=["month_of_yeer"]), "did you mean 'month_of_year'"),
        (lambda: j2v.Array(j2v.Number("x"), j2v.Number("x"), name="a"), "given twice: x"),
        (lambda: j2v.Array(j2v.Number("x"), name="a", max_lenght=3), "did you mean 'max_length'"),
        (lambda: build(j2v.Number("x"), d_model=6), "multiple of n_heads"),
        (lambda: build(j2v.Number("x", query="x")), r"must begin with '\[\*\]'"),
        (lambda: build(j2v.Number("x", query="[*].a[*].b")), "goes through 1 lists"),
        (lambda: build(j2v.Number("x", query="[*].a[")), "no JMESPath"),
        (lambda: build(j2v.Entity("x")), "at least 2 slots"),
        (lambda: build(), "at least one field"),
        (lambda: build(j2v.Array(j2v.Number("x", active=False), name="a"), j2v.Number("y")), "active leaf"),
        (lambda: j2v.Mask(), "exactly one of rate and count"),
    ],
)
def test_mistakes_are_named(make, says) -> None:
    with pytest.raises(j2v.SchemaError, match=says):
        make()


def test_dateparts_names_are_forgiving() -> None:
    assert j2v.DateParts("x", dateparts=["Month Of Year", "dayOfWeek"]).dateparts == ("month_of_year", "day_of_week")
