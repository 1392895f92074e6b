"""What a model was trained on: counted in one pass, whatever the batches; kept in the checkpoint; never in the way."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import json2vec as j2v
from json2vec.errors import CheckpointError, EncodeError
from json2vec.model import checkpoint
from json2vec.profile.counters import SAMPLED
from json2vec.profile.profile import Labels, LeafProfile, Profile, drift
from json2vec.profile.profiler import Profiler
from json2vec.profile.sampling import spread

SCHEMA = pa.schema(
    [
        ("amount", pa.float64()),
        ("merchant", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("items", pa.list_(pa.struct([("price", pa.float64()), ("sku", pa.string())]))),
        ("label", pa.string()),
    ]
)


def make_model(**options: Any) -> j2v.Model:
    return j2v.Model.from_schema(
        j2v.Number("amount"),
        j2v.Category("merchant", max_vocab_size=3),
        j2v.Set("tags", max_vocab_size=8),
        j2v.Array(j2v.Number("price"), j2v.Category("sku", max_vocab_size=8), name="items", max_length=2),
        j2v.Category("label", max_vocab_size=4, target=True),
        d_model=8, n_layers=1, n_heads=2, **options,
    )  # fmt: skip


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "amount": None if rng.random() < 0.2 else float(rng.normal()),
            "merchant": f"m{min(rng.integers(0, 5), rng.integers(0, 5))}",
            "tags": [f"t{k}" for k in rng.integers(0, 3, rng.integers(0, 3))],
            "items": [{"price": float(i), "sku": "a"} for i in range(rng.integers(0, 4))],
            "label": "x",
        }
        for _ in range(count)
    ]


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


def test_a_checkpoint_keeps_it_and_the_fingerprint_does_not_know_it(tmp_path: Path) -> None:
    model = make_model()
    frame = pl.DataFrame(rows(300))
    model.learn(frame.to_dicts())
    before = model.fingerprint()
    j2v.PolarsDataModule(model, train=frame).learn_profile()
    assert model.fingerprint() == before
    path = model.save(tmp_path / "m.ckpt")
    loaded = j2v.Model.load(path)
    assert loaded.profile == model.profile
    assert loaded.fingerprint() == before
    assert model.profile is not None
    assert len(pickle.dumps(model.profile.to_plain())) < 8192
    # Nothing but plain values: what reads a checkpoint runs nothing of it.
    assert torch.load(path, weights_only=True)["profile"] == model.profile.to_plain()


def test_lightning_checkpoints_keep_it_too() -> None:
    model = make_model()
    j2v.PolarsDataModule(model, train=pl.DataFrame(rows(50))).setup("fit")
    values: dict[str, Any] = {}
    model.on_save_checkpoint(values)
    other = make_model()
    other.on_load_checkpoint(values)
    assert other.profile == model.profile is not None


def test_old_checkpoints_load_without_one(tmp_path: Path) -> None:
    model = make_model()
    values = checkpoint.load(model.save(tmp_path / "m.ckpt"))
    del values["profile"]
    path = checkpoint.save(tmp_path / "old.ckpt", values)
    assert j2v.Model.load(path).profile is None
    data = Path(__file__).parents[2] / "data" / "format-1" / "model.ckpt"
    assert j2v.Model.load(data).profile is None


@pytest.mark.parametrize("profile", [{"format": 2}, {"format": 1}, {"format": 1, "rows": 1, "schema": "AAAA"}])
def test_a_damaged_profile_is_refused(profile: dict[str, Any], tmp_path: Path) -> None:
    values = checkpoint.load(make_model().save(tmp_path / "m.ckpt"))
    path = checkpoint.save(tmp_path / "bad.ckpt", values | {"profile": profile})
    with pytest.raises(CheckpointError, match="training profile"):
        j2v.Model.load(path)


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


def test_what_differs_from_folder_to_folder_is_natural(tmp_path: Path) -> None:
    """The weather of a day is one value for all its rows, and some days there is none; a column of noise is not so."""
    rng = np.random.default_rng(3)

    def day(number: int, rows: int = 80) -> pl.DataFrame:
        missing = number % 5 == 0
        return pl.DataFrame(
            {
                "temp": [None if missing and i % 2 else float(number) for i in range(rows)],
                "sky": [["clear", "rain", "snow"][number % 3]] * rows,
                "noise": rng.normal(size=rows),
            }
        )

    for number in range(20):
        (tmp_path / f"dt={number:02}").mkdir()
        day(number).write_parquet(tmp_path / f"dt={number:02}" / "a.parquet")
    model = j2v.Model.from_schema(
        j2v.Number("temp"), j2v.Category("sky", max_vocab_size=8), j2v.Number("noise"),
        d_model=8, n_layers=1, n_heads=2,
    )  # fmt: skip
    j2v.StreamingDataModule(model, tmp_path, "parquet", train=".").setup("fit")
    profile = model.profile
    assert profile is not None
    temp, sky, noise = (profile.leaves[f"record/{name}"] for name in ("temp", "sky", "noise"))
    assert (temp.apart.folders, temp.apart.constant, temp.apart.null_rate) == (20, 20, 0.5)
    assert (sky.apart.constant, sky.apart.null_rate) == (20, 0.0)
    assert noise.apart.constant == 0
    assert noise.apart.psi < 0.5 < 1 < min(temp.apart.psi, sky.apart.psi)
    # A further day like that has not drifted; one whose noise is no noise has.
    profiler = Profiler(model.schema, model.vocabularies, profile)
    new = day(7).with_columns(noise=pl.lit(0.1) + pl.col("noise") / 100)
    profiler.update(pa.RecordBatch.from_pydict({name: new[name].to_list() for name in new.columns}))
    found = profiler.finish(profile.schema).leaves
    moved = {name: drift(leaf, found[name], 80).exceeds(0.25) for name, leaf in profile.leaves.items()}
    assert moved == {"record/temp": False, "record/sky": False, "record/noise": True}


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


@pytest.mark.parametrize(("rows_", "wanted"), [(0, 5), (5, 0), (3, 10), (10, 3), (1000, 999), (100_000, 64)])
def test_spread(rows_: int, wanted: int) -> None:
    ranges = spread(rows_, wanted) if wanted else []
    assert sum(stop - start for start, stop in ranges) == min(rows_, wanted)
    assert all(start < stop for start, stop in ranges)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges))
    if ranges and wanted > 1:
        assert (ranges[0][0], ranges[-1][1]) == (0, rows_)


def test_psi_is_the_textbook_one_and_small_samples_are_noisy() -> None:
    def labelled(**counts: int) -> LeafProfile:
        labels = Labels(count=sum(counts.values()), top=tuple(counts.items()))
        return LeafProfile("category", labels=labels)

    expected = labelled(a=5000, b=5000)
    moved = drift(expected, labelled(a=8000, b=2000), 10_000)
    assert moved.psi == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4), rel=0.01)
    assert moved.noise < 0.01
    few = drift(expected, labelled(a=5, b=2), 7)
    assert few.psi is not None
    assert few.psi < few.noise
    assert drift(LeafProfile("entity"), LeafProfile("entity"), 10).psi is None
