"""The arithmetic of the network: golden predictions of a model that PyPI json2vec trained."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from json2vec.model.model import Model

Agree = Callable[[Any, Any, str], int]


@pytest.fixture(scope="module")
def model(golden: Path) -> Model:
    return Model.from_exported(golden)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_every_golden_prediction_agrees(golden: Path, model: Model, agree: Agree, batch_size: int) -> None:
    records = [json.loads(line) for line in (golden / "inputs.ndjson").read_text().splitlines()]
    expected = json.loads((golden / "predictions.json").read_text())
    model.batch_size = batch_size
    predicted = model.predict(records)
    assert list(predicted) == list(expected)
    assert sum(agree(predicted[address], expected[address], address) for address in expected) == 3480


def test_the_columnar_path_agrees_with_golden(golden: Path, model: Model, agree: Agree) -> None:
    records = [json.loads(line) for line in (golden / "inputs.ndjson").read_text().splitlines()]
    expected = json.loads((golden / "predictions.json").read_text())
    rows = pa.Table.from_pylist(records)
    predicted = model.infer(model.encode(rows)).to_python()
    for address in expected:
        agree(predicted[address], expected[address], address)


def test_the_order_of_normalising_is_pinned(golden: Path, model: Model) -> None:
    """Angles up to 1e4 amplify rounding: the same formula in float64 gives other features than the golden order."""
    embedder = model.nodes["record/amount"].embedder
    mean, var = embedder.normalizer.mean.numpy(), embedder.normalizer.var.numpy()
    value = (mean + np.sqrt(var) * np.linspace(-150, 150, 101, dtype=np.float32)).astype(np.float32)
    state = torch.zeros(1, len(value), dtype=torch.int64)
    found = embedder.features(state, torch.from_numpy(value).unsqueeze(0)).numpy()[0]
    k = np.arange(-8, 5)

    def features(kind: type[np.floating]) -> np.ndarray:
        u = (value.astype(kind) - mean.astype(kind)) / np.sqrt(var.astype(kind) + kind(1e-5))
        angles = u[:, None] * (math.pi * 2.0**k).astype(np.float32).astype(kind)
        return np.concatenate([np.sin(angles.astype(np.float64)), np.cos(angles.astype(np.float64))], -1)

    assert np.abs(found - features(np.float32)).max() < 1e-5
    assert np.abs(found - features(np.float64)).max() > 1e-4
