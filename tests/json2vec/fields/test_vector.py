"""What Vector encodes."""

from __future__ import annotations

import pytest
from encoded import encode

import json2vec as j2v


def test_vector() -> None:
    field = j2v.Vector("x", n_dim=2)
    assert encode(field, [[1.0, 2.0], None])[1]["value"] == [[1, 2], [0, 0]]
    for bad in ([[1.0, None]], [[1.0]], [[1.0, float("nan")]], [["a", "b"]]):
        with pytest.raises(j2v.EncodeError, match=r"record/x: .*row 0"):
            encode(field, bad)
