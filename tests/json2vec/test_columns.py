"""Position is never lost."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from positions import TYPE, N, P, V, batch, leaf

import json2vec as j2v


def test_a_null_item_value_keeps_its_slot() -> None:
    records = [{"items": [{"p": None, "c": "x"}, {"p": 2.0}, {"p": 3.0}]}]
    for rows in (records, batch(records)):
        assert leaf(rows, "items", "p").state.tolist() == [N, V, V]
        assert leaf(rows, "items", "p").slots.tolist() == [1, 2]
        assert leaf(rows, "items", "c").state.tolist() == [V, N, N]


def test_absent_null_and_empty_arrays_are_padded_and_absent_root_keys_null() -> None:
    records = [{}, {"items": None, "a": None}, {"items": [], "a": 1.0, "o": None}, {"items": [None], "o": {"k": 4.0}}]
    for rows in (records, batch(records)):
        assert leaf(rows, "items", "p").state.reshape(4, 3).tolist() == [[P] * 3] * 3 + [[N, P, P]]
        assert leaf(rows, "a").state.tolist() == [N, N, V, N]
        assert leaf(rows, "deep").state.tolist() == [N, N, N, V]


def test_overflow_keeps_head_or_tail() -> None:
    records = [{"items": [{"p": float(i), "in": [{"q": j} for j in range(4)]} for i in range(5)]}]
    for rows in (records, batch(records)):
        column = leaf(rows, "items", "p")
        assert np.asarray(column.values).tolist() == [0, 1, 2]
        column = leaf(rows, "items", "in", "q")
        assert np.asarray(column.values).tolist() == [2, 3] * 3
        assert column.slots.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_list_that_is_none_is_named() -> None:
    for rows in ([{"items": {"p": 1.0}}], pa.RecordBatch.from_pylist([{"items": {"p": 1.0}}])):
        with pytest.raises(j2v.EncodeError, match="record/items/p: expected a list, found"):
            leaf(rows, "items", "p")


def test_slices_and_null_lists_that_own_values() -> None:
    values = pa.array([{"p": float(i), "c": None, "in": None} for i in range(6)], TYPE.field("items").type.value_type)
    lists = pa.ListArray.from_arrays([0, 2, 4, 6], values, mask=pa.array([False, True, False]))
    rows = pa.RecordBatch.from_arrays([lists], names=["items"])
    assert np.asarray(leaf(rows, "items", "p").values).tolist() == [0, 1, 4, 5]
    assert np.asarray(leaf(rows.slice(1), "items", "p").values).tolist() == [4, 5]
    assert leaf(rows.slice(1), "items", "p").slots.tolist() == [3, 4]
