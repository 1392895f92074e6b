"""What Number encodes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from encoded import N, V, encode

import json2vec as j2v


def test_number() -> None:
    state, content = encode(j2v.Number("x"), [1.5, None, float("nan"), float("inf"), -0.0])
    assert state == [V, N, N, V, V]
    assert content["value"] == [1.5, 0, 0, float("inf"), 0]
    assert encode(j2v.Number("x"), ["12", " 1e3 ", "nan"]) == ([V, V, N], {"value": [12, 1000, 0]})
    assert encode(j2v.Number("x"), [True, False])[1]["value"] == [1, 0]
    assert encode(j2v.Number("x"), [2**70, 1])[1]["value"] == [np.float32(2**70), 1]
    assert encode(j2v.Number("x"), [1, "2.5", True])[1]["value"] == [1, 2.5, 1]


def test_number_rejects_text_naming_the_row() -> None:
    model = j2v.Model.from_schema(j2v.Number("x"), d_model=8, n_layers=1, n_heads=2)
    for rows in ([{"x": "1"}, {"x": None}, {"x": "abc"}], pa.RecordBatch.from_pydict({"x": ["1", None, "abc"]})):
        with pytest.raises(j2v.EncodeError, match=r"record/x: expected a number, found str 'abc' \(at row 2"):
            model.encode(rows)
