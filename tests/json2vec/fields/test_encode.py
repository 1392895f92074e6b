"""The columns that a field encodes: the row path and the columnar path agree on every record."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from positions import SCHEMA, M, N, P, V, batch, leaf

import json2vec as j2v
from json2vec.fields.encode import resolve


def test_overflow_error_names_the_row() -> None:
    schema = j2v.Schema.from_schema(
        j2v.Array(j2v.Number("p"), name="items", max_length=1, overflow="error"), d_model=8, n_layers=1, n_heads=2
    )
    records = [{"items": [{"p": 1.0}]}, {"items": [{"p": 1.0}, {"p": 2.0}]}]
    for rows in (records, pa.RecordBatch.from_pylist(records)):
        with pytest.raises(j2v.EncodeError, match="holds 2 items; expected at most 1") as caught:
            resolve(rows, schema, j2v.Address("record/items/p"), predict=True)
        assert caught.value.row == 1


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
