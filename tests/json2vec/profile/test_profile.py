"""What a model was trained on is kept in the checkpoint; how far other rows drift from it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from profiled import make_model, rows

import json2vec as j2v
from json2vec.errors import CheckpointError
from json2vec.model import checkpoint
from json2vec.profile.profile import Labels, LeafProfile, drift
from json2vec.profile.profiler import Profiler


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
