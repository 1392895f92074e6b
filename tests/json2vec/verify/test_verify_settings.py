"""The pipeline's settings judge a folder, not the folder's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from rank_folders import LABELS, rows_table

import json2vec as j2v
from json2vec.rank_files.settings import PRECISIONS
from json2vec.storage.local import LocalStore
from json2vec.verify.tolerance import MIXED, tolerance_of

HONEST = {"device": "cpu", "precision": "32-true", "preprocessor": None, "postprocessor": None, "inputs": True,
          "reconstruct": ()}  # fmt: skip


def restated(folder: Path, **settings: Any) -> None:
    """Let a manifest say otherwise, as whoever may write the folder can."""
    store = LocalStore(folder)
    manifest = json.loads(store.read("_manifest.json"))
    manifest["settings"].update(settings)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (folder / "_manifest.json").write_text(text)


def test_a_folder_that_keeps_to_its_settings_passes(write: Any, model: Any) -> None:
    folder = write()
    restated(folder.path, **{**HONEST, "reconstruct": []})
    report = j2v.verify_predictions(folder.path, model=model, settings=HONEST)
    assert report.passed, report.summary()


@pytest.mark.parametrize(
    ("name", "said"),
    [("precision", "bf16-mixed"), ("preprocessor", "shop:prepare"), ("postprocessor", "shop:tidy"),
     ("reconstruct", ["record/amount"]), ("inputs", ["id"]), ("device", "gpu")],
)  # fmt: skip
def test_a_manifest_that_says_otherwise_is_a_finding(write: Any, model: Any, name: str, said: Any) -> None:
    folder = write()
    restated(folder.path, **{name: said})
    report = j2v.verify_predictions(folder.path, model=model, settings=HONEST)
    assert not report.passed
    files = report.finding("files")
    assert files.passed is False
    assert any(f"the manifest's {name} is {said!r}, expected" in example for example in files.examples)
    assert report.finding("replay").passed, "and it is judged as it ought to be"


def test_a_folder_cannot_ask_for_tolerance(write: Any, model: Any) -> None:
    folder = write()
    restated(folder.path, precision="bf16-mixed")
    alone = j2v.verify_predictions(folder.path, model=model)
    assert not alone.passed
    assert alone.finding("replay").passed is None
    assert "settings={'precision': 'bf16-mixed'}" in alone.finding("replay").remedy
    agreed = j2v.verify_predictions(folder.path, model=model, settings={"precision": "bf16-mixed"})
    assert agreed.passed, agreed.summary()


def farthest(one: pa.Array, other: pa.Array) -> float:
    """The largest difference of floats, by the measure of `far`."""
    if pa.types.is_struct(one.type):
        return max([farthest(one.field(i), other.field(i)) for i in range(one.type.num_fields)], default=0.0)
    if hasattr(one, "flatten") and not pa.types.is_floating(one.type) and pa.types.is_nested(one.type):
        return farthest(one.flatten(), other.flatten())
    if not pa.types.is_floating(one.type):
        return 0.0
    a, b = (torch.tensor(array.to_pylist(), dtype=torch.float64) for array in (one, other))
    return float(((a - b).abs() / (1 + b.abs())).max()) if len(a) else 0.0


@pytest.mark.parametrize(("name", "kind"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_the_tolerance_is_what_was_measured(name: str, kind: torch.dtype) -> None:
    worst = 0.0
    for seed, width in ((0, 16), (1, 64), (2, 128)):
        torch.manual_seed(seed)
        model = j2v.Model.from_schema(
            j2v.Number("amount"), j2v.Category("merchant", max_vocab_size=8),
            j2v.Category("label", max_vocab_size=6, target=True), j2v.Number("score", target=True), d_model=width,
            n_layers=2, n_heads=4, batch_size=64, embed=True,
        )  # fmt: skip
        model.learn([{"merchant": merchant, "label": label} for merchant, label in LABELS])
        batch = model.eval().encode(rows_table("a", 100).to_pylist())
        exact = model.infer(batch).columns()
        with torch.autocast("cpu", kind):
            worst = max(worst, farthest(model.infer(batch).columns(), exact))
    assert MIXED[name] / 50 < worst < MIXED[name]


def test_every_precision_has_a_tolerance() -> None:
    assert [tolerance_of(name, "cpu") for name in PRECISIONS] == [1e-5, 5e-2, 5e-2, 1e-5, 5e-2, 5e-2]
    assert [tolerance_of(name, "gpu") for name in PRECISIONS] == [1e-4, 5e-2, 5e-3, 1e-4, 5e-2, 5e-3]
