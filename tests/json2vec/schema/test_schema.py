"""Schemas: addresses, shapes, order, and plain values."""

from __future__ import annotations

from built_schema import build

import json2vec as j2v


def nested() -> j2v.Schema:
    return build(
        j2v.Number("amount"),
        j2v.Array(
            j2v.Number("price"),
            j2v.Array(j2v.Category("mode"), name="stops", max_length=3),
            name="items",
            max_length=5,
        ),
        j2v.Category("label", target=True),
    )


def test_addresses_shapes_and_order() -> None:
    schema = nested()
    assert list(schema.leaves) == ["record/amount", "record/items/price", "record/items/stops/mode", "record/label"]
    assert schema.shape(j2v.Address("record", "items", "stops", "mode")) == (1, 5, 3)
    assert schema.slots(j2v.Address("record", "items", "stops", "mode")) == 15
    assert schema.deepest_first == ["record/items/stops", "record/items", "record"]
    assert schema.target == ["record/label"]


def test_plain_values_round_trip() -> None:
    schema = nested()
    assert j2v.Schema.from_dict(schema.to_dict()) == schema
