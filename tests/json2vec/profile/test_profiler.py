"""A profile is counted in one pass, whatever the batches."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiled import make_model, rows

import json2vec as j2v
from json2vec.errors import EncodeError
from json2vec.profile.profile import Labels, Profile, drift
from json2vec.profile.profiler import Profiler

SCHEMA = pa.schema(
    [
        ("amount", pa.float64()),
        ("merchant", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("items", pa.list_(pa.struct([("price", pa.float64()), ("sku", pa.string())]))),
        ("label", pa.string()),
    ]
)


def test_it_counts_what_is_there() -> None:
    batch = pa.RecordBatch.from_pylist(
        [
            {"amount": 1.0, "merchant": "a", "tags": ["x", "y"], "items": [{"price": 1.0, "sku": "s"}] * 3},
            {"amount": None, "merchant": "b", "tags": None, "items": []},
            {"amount": 3.0, "merchant": "a", "tags": ["x"], "items": None},
            {"amount": float("inf"), "merchant": "c", "tags": [], "items": [{"price": None, "sku": "t"}]},
            {"amount": 2.0, "merchant": "d", "tags": ["x"], "items": [{"price": 5.0, "sku": None}]},
        ],
        schema=SCHEMA,
    )
    model = make_model()
    model.learn(batch)
    profiler = Profiler(model.schema, model.vocabularies)
    profiler.update(batch)
    profile = profiler.finish(SCHEMA)
    amount, merchant = profile.leaves["record/amount"], profile.leaves["record/merchant"]
    assert (amount.valued, amount.null, amount.padded, amount.null_rate) == (4, 1, 0, 0.2)
    assert amount.numbers is not None
    assert (amount.numbers.count, amount.numbers.infinite, amount.numbers.mean) == (3, 1, 2.0)
    assert (amount.numbers.min, amount.numbers.max, amount.numbers.median) == (1.0, 3.0, 2.0)
    assert merchant.labels == Labels(
        count=5, unknown=1, once=2, distinct=3, full=True, top=(("a", 2), ("b", 1), ("c", 1))
    )
    # One label in five was unknown, and two more were seen once: so much to expect of further rows.
    assert merchant.labels.expected_unknown_rate == pytest.approx(0.6)
    tags, sku = profile.leaves["record/tags"].labels, profile.leaves["record/items/sku"]
    assert tags is not None
    assert (tags.count, tags.top) == (4, (("x", 3), ("y", 1)))
    assert (sku.valued, sku.null, sku.padded) == (3, 1, 6)
    items = profile.arrays["record/items"]
    assert (items.lists, items.empty, items.overflow, items.items, items.longest) == (5, 2, 1, 5, 3)
    assert "record/label" not in profile.leaves


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=12), seed=st.integers(0, 3))
def test_batching_does_not_matter(cuts: list[int], seed: int) -> None:
    batch = pa.RecordBatch.from_pylist(rows(400, seed), schema=SCHEMA)
    model = make_model()
    model.learn(batch)

    def profile(bounds: list[int], reference: Profile | None = None) -> Profile:
        profiler = Profiler(model.schema, model.vocabularies, reference)
        for start, stop in itertools.pairwise(bounds):
            if start < stop:
                profiler.update(batch.slice(start, stop - start))
        return profiler.finish(SCHEMA)

    whole, pieces = profile([0, 400]), profile([0, *sorted(cuts), 400])
    assert _without_moments(pieces) == _without_moments(whole)
    for address, leaf in whole.leaves.items():
        if leaf.numbers is not None:
            other = pieces.leaves[address].numbers
            assert other is not None
            assert (other.mean, other.std) == pytest.approx((leaf.numbers.mean, leaf.numbers.std))
    compared = profile([0, *sorted(cuts), 400], whole)
    for address, leaf in compared.leaves.items():
        expected = whole.leaves[address]
        if leaf.numbers is not None and expected.numbers is not None:
            assert (leaf.numbers.bins, leaf.numbers.outside) == (expected.numbers.bins, 0)
        assert drift(expected, leaf, 400).psi in (None, pytest.approx(0, abs=1e-9))


def _without_moments(profile: Profile) -> dict[str, Any]:
    plain = profile.to_plain()
    for leaf in plain["leaves"].values():
        if leaf["numbers"]:
            del leaf["numbers"]["mean"], leaf["numbers"]["std"]
    return plain


def test_learning_a_batch_at_a_time_counts_as_learning_all_of_it_first() -> None:
    frame = pl.DataFrame(rows(300))
    model = make_model()
    j2v.PolarsDataModule(model, train=frame).setup("fit")
    after = model.profile
    again = j2v.PolarsDataModule(model, train=frame).learn_profile()
    assert after == again


def test_jmespath_queries_are_counted_too() -> None:
    model = j2v.Model.from_schema(
        j2v.Number("big", query="[*].items[?price > `1`].price | [0][0]"), j2v.Number("amount"),
        d_model=8, n_layers=1, n_heads=2,
    )  # fmt: skip
    profiler = Profiler(model.schema, model.vocabularies)
    profiler.update(pa.RecordBatch.from_pylist(rows(50), schema=SCHEMA))
    leaf = profiler.finish(SCHEMA).leaves["record/big"]
    assert leaf.occupied == 50
    assert leaf.numbers is None or leaf.numbers.min > 1


def test_a_value_that_cannot_be_counted_is_named(tmp_path: Path) -> None:
    model = j2v.Model.from_schema(j2v.Number("n"), d_model=8, n_layers=1, n_heads=2)
    (tmp_path / "a.ndjson").write_text('{"n": "1"}\n{"n": "2"}\n{"n": "much"}\n')
    data = j2v.StreamingDataModule(model, tmp_path, "ndjson", train=".")
    with pytest.raises(EncodeError, match=r"a.ndjson, row 2"):
        data.setup("fit")
