"""Predictions as columns: their type is known before any row, and there may be none."""

from __future__ import annotations

import pytest
from every_field import make

import json2vec as j2v


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
