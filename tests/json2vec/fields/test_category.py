"""What Category encodes, and Set like it."""

from __future__ import annotations

import numpy as np
import pytest
from encoded import encode

import json2vec as j2v


def test_category_unknown_labels_and_equal_numbers() -> None:
    field = j2v.Category("x", max_vocab_size=4)
    assert encode(field, ["b", "z", None, "a"], learn=["a", "b"])[1]["value"] == [1, 4, 0, 0]
    assert encode(field, [1, 2], learn=[True, "1"])[1]["value"] == [0, 4]
    assert encode(field, [1.0, 0.0], learn=[1])[1]["value"] == [0, 4]
    assert encode(field, ["1", "x"], learn=[1, "1"])[1]["value"] == [1, 4]
    assert encode(field, [1, "1", 2.5, True], learn=[1, "1", 2.5])[1]["value"] == [0, 1, 2, 0]
    assert encode(field, [2**60, 2**60 + 1], learn=[2**60])[1]["value"] == [0, 4]


@pytest.mark.parametrize("field", [j2v.Category("x", max_vocab_size=4), j2v.Set("x", max_vocab_size=4)])
def test_labels_are_unknown_while_none_are_learned(field: j2v.Leaf) -> None:
    _, content = encode(field, ["a", None])
    (labels,) = content.values()
    assert np.ravel(labels)[0] == 4
