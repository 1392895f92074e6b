"""One schema that can be stored, and values that fit it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from written_ranks import KIND

from json2vec.errors import ProcessorError, SchemaError
from json2vec.rank_files.layout import fit_values, rank_schema, schema_digest, stored_type


def test_the_schema_is_one_and_storable() -> None:
    words = pa.dictionary(pa.int8(), pa.string())
    inputs = pa.schema([("a", words), ("b", pa.list_(words)), ("c", pa.int8())])
    schema = rank_schema(inputs, KIND, ["c", "a"])
    assert schema.field("inputs").type == pa.struct([("a", pa.string()), ("c", pa.int8())])
    assert stored_type(pa.list_(words)) == pa.list_(pa.string())
    assert schema_digest(schema) != schema_digest(rank_schema(inputs, KIND))
    assert schema_digest(pa.schema([("x", pa.list_(pa.field("element", pa.int8())))])) == schema_digest(
        pa.schema([("x", pa.list_(pa.int8()))])
    )
    with pytest.raises(SchemaError, match=r"\['d'\] are not columns"):
        rank_schema(inputs, KIND, ["d"])
    with pytest.raises(SchemaError, match=r"inputs\.e is a struct without fields"):
        rank_schema(pa.schema([("e", pa.struct([]))]), KIND)


@pytest.mark.parametrize(
    ("values", "kind", "fits"),
    [
        ([1, None], pa.int64(), True),
        ([1, 2], pa.float64(), True),
        ([1.5], pa.float32(), True),
        ([{"a": 1}, {}], pa.struct([("a", pa.int64()), ("b", pa.string())]), True),
        ([[], [1.0]], pa.list_(pa.float64()), True),
        ([{"x": 0.5}], pa.map_(pa.string(), pa.float32()), True),
        ([1, 2.5], pa.int64(), False),
        ([1, True], pa.int64(), False),
        ([1, 2**40], pa.int32(), False),
        ([{"a": 1}, {"a": 1, "c": 2}], pa.struct([("a", pa.int64())]), False),
        ([["a"], [1]], pa.list_(pa.string()), False),
        ([None, 1], pa.null(), False),
    ],
)
def test_values_fit_or_are_named(values: Any, kind: pa.DataType, fits: bool) -> None:
    if fits:
        assert fit_values(values, kind, "column", lambda row: f"row {row}").type == kind
    else:
        with pytest.raises(ProcessorError, match=r"column of row 1 does not fit.*schema="):
            fit_values(values, kind, "column", lambda row: f"row {row}")
