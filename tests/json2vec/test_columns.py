"""Position is never lost, and the row path and the columnar path agree on every record."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import json2vec as j2v
from json2vec.columns import LeafColumn
from json2vec.fields.encode import resolve

V, N, P, M = (int(j2v.Tokens[name]) for name in ("valued", "null", "padded", "masked"))

SCHEMA = j2v.Schema.from_schema(
    j2v.Number("a"),
    j2v.Number("deep", query="[*].o.k"),
    j2v.Array(
        j2v.Number("p"),
        j2v.Category("c"),
        j2v.Array(j2v.Number("q"), name="in", max_length=2, overflow="tail"),
        name="items",
        max_length=3,
    ),
    d_model=8, n_layers=1, n_heads=2,
)  # fmt: skip
TYPE = pa.schema(
    [
        ("a", pa.float64()),
        ("o", pa.struct([("k", pa.float64())])),
        (
            "items",
            pa.list_(
                pa.struct([("p", pa.float64()), ("c", pa.string()), ("in", pa.list_(pa.struct([("q", pa.int64())])))])
            ),
        ),
    ]
)


def batch(records: list[dict]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(records, TYPE)


def leaf(rows: object, *parts: str) -> LeafColumn:
    return resolve(rows, SCHEMA, j2v.Address("record", *parts), predict=True)  # type: ignore[arg-type]


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


def test_overflow_error_names_the_row() -> None:
    schema = j2v.Schema.from_schema(
        j2v.Array(j2v.Number("p"), name="items", max_length=1, overflow="error"), d_model=8, n_layers=1, n_heads=2
    )
    records = [{"items": [{"p": 1.0}]}, {"items": [{"p": 1.0}, {"p": 2.0}]}]
    for rows in (records, pa.RecordBatch.from_pylist(records)):
        with pytest.raises(j2v.EncodeError, match="holds 2 items; expected at most 1") as caught:
            resolve(rows, schema, j2v.Address("record/items/p"), predict=True)
        assert caught.value.row == 1


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


def test_mask_literal_hides_in_prediction_and_is_refused_elsewhere() -> None:
    records = [{"items": [{"c": "x"}, {"c": j2v.MASK_LITERAL}]}]
    for rows in (records, batch(records)):
        assert leaf(rows, "items", "c").state.tolist() == [V, M, P]
        with pytest.raises(j2v.EncodeError, match="prediction only"):
            resolve(rows, SCHEMA, j2v.Address("record/items/c"), predict=False)


numbers = st.none() | st.floats(width=32, allow_nan=True)
inner = st.none() | st.lists(
    st.none() | st.fixed_dictionaries({}, optional={"q": st.none() | st.integers(-5, 5)}), max_size=4
)
item = st.none() | st.fixed_dictionaries(
    {}, optional={"p": numbers, "c": st.none() | st.sampled_from(["x", "y", j2v.MASK_LITERAL, ""]), "in": inner}
)
record = st.fixed_dictionaries(
    {},
    optional={
        "a": numbers,
        "o": st.none() | st.fixed_dictionaries({}, optional={"k": numbers}),
        "items": st.none() | st.lists(item, max_size=5),
    },
)


@settings(max_examples=200, deadline=None)
@given(st.lists(record, max_size=6), st.integers(0, 3))
def test_row_path_equals_columnar_path(records: list[dict], skip: int) -> None:
    rows = batch(records).slice(min(skip, len(records)))
    for address in SCHEMA.leaves:
        by_row = resolve(records[skip:], SCHEMA, address, predict=True)
        by_column = resolve(rows, SCHEMA, address, predict=True)
        assert by_row.shape == by_column.shape
        assert by_row.state.tolist() == by_column.state.tolist()
        assert by_row.slots.tolist() == by_column.slots.tolist()
        assert list(by_row.values) == list(by_column.values) or np.array_equal(
            np.asarray(by_row.values, float), np.asarray(by_column.values, float)
        )


def test_other_jmespath_runs_row_by_row() -> None:
    schema = j2v.Schema.from_schema(j2v.Number("first", query="[*].items[0].p"), d_model=8, n_layers=1, n_heads=2)
    records = [{"items": [{"p": 7.0, "c": None, "in": None}]}, {"items": []}]
    for rows in (records, batch(records)):
        column = resolve(rows, schema, j2v.Address("record/first"), predict=True)
        assert column.state.tolist() == [V, N]
        assert list(column.values) == [7.0] or np.asarray(column.values).tolist() == [7.0]
