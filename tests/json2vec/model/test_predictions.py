"""Predictions as columns: their type is known before any row, and there may be none."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute
import pytest
from every_field import make

import json2vec as j2v
from json2vec.model.predictions import to_python


def test_output_type_is_known_before_any_row() -> None:
    model = make()
    announced = model.output_type()
    for rows in ([], [{}], [{"amount": 1.0}] * 3):
        assert model.infer(model.encode(rows)).columns().type == announced
    wider = model.output_type(["items/sku"])
    assert model.infer(model.encode([{}]), ["items/sku"]).columns().type == wider
    with pytest.raises(j2v.SchemaError, match="no active leaf"):
        model.output_type(["itms/sku"])


def test_predict_nothing_gives_empty_columns() -> None:
    predicted = make().predict([])
    assert predicted["record/label"]["content"]["value"] == []
    assert list(predicted) == ["record/items/stops", "record", "record/amount", "record/items/returned", "record/label",
                               "record/score"]  # fmt: skip


def test_what_comes_out_does_not_depend_on_neighbours() -> None:
    model = make()
    masked, plain = {"items": [{"sku": j2v.MASK_LITERAL}]}, {"items": [{"sku": "a"}]}
    assert list(model.predict([masked, plain])) == list(model.predict([plain]))


@pytest.mark.parametrize("array", [
    pa.array([], pa.string()), pa.array(["a", None, "b"]),
    pa.array([[], []], pa.list_(pa.struct([("a", pa.string())]))),
    pa.array([[[], []]], pa.list_(pa.list_(pa.string()))), pa.array([["a", None], ["b", "c"]]), pa.array([1, None]),
    pa.array([[1, 2], [3, 4]]), pa.array([[1, 2], [3]]), pa.array([[], [1]]), pa.array([None, [1]]),
    pa.array([["a", "b"], ["c", "d"]]).slice(1), pa.array([[[1.0, 2.0]], [[3.0, 4.0]]]).slice(1),
    pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), pa.array([True, None]),
], ids=str)  # fmt: skip
def test_the_short_ways_to_python_give_what_arrow_gives(array: pa.Array) -> None:
    found, expected = to_python(array), array.to_pylist(maps_as_pydicts="strict")
    assert (found, repr(found)) == (expected, repr(expected))
