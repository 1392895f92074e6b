"""Schemas: addresses, shapes, queries, and errors for what cannot be meant."""

from __future__ import annotations

import pytest

import json2vec as j2v
from json2vec.schema.queries import EACH, default_query, parse_query


def build(*fields: object, **options: object) -> j2v.Schema:
    return j2v.Schema.from_schema(*fields, **{"d_model": 8, "n_layers": 1, "n_heads": 2, **options})  # type: ignore[arg-type]


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


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: j2v.Number("x", n_band=3), "did you mean 'n_bands'"),
        (lambda: j2v.Number("a b"), "letters, digits"),
        (lambda: j2v.Number("x", n_heads=3), "even"),
        (lambda: j2v.Number("x", name="y"), "two names"),
        (lambda: j2v.Number("x", target=True, p_prune=0.5), "shorthand"),
        (lambda: j2v.Category("x", topk=[1]), "between 2"),
        (lambda: j2v.DateParts("x", dateparts=["month_of_yeer"]), "did you mean 'month_of_year'"),
        (lambda: j2v.Array(j2v.Number("x"), j2v.Number("x"), name="a"), "given twice: x"),
        (lambda: j2v.Array(j2v.Number("x"), name="a", max_lenght=3), "did you mean 'max_length'"),
        (lambda: build(j2v.Number("x"), d_model=6), "multiple of n_heads"),
        (lambda: build(j2v.Number("x", query="x")), r"must begin with '\[\*\]'"),
        (lambda: build(j2v.Number("x", query="[*].a[*].b")), "goes through 1 lists"),
        (lambda: build(j2v.Number("x", query="[*].a[")), "no JMESPath"),
        (lambda: build(j2v.Entity("x")), "at least 2 slots"),
        (lambda: build(), "at least one field"),
        (lambda: build(j2v.Array(j2v.Number("x", active=False), name="a"), j2v.Number("y")), "active leaf"),
        (lambda: j2v.Mask(), "exactly one of rate and count"),
    ],
)
def test_mistakes_are_named(make, says) -> None:
    with pytest.raises(j2v.SchemaError, match=says):
        make()


def test_dateparts_names_are_forgiving() -> None:
    assert j2v.DateParts("x", dateparts=["Month Of Year", "dayOfWeek"]).dateparts == ("month_of_year", "day_of_week")


def test_queries() -> None:
    assert default_query(["items", "odd-key"]).text == '[*].items[*]."odd-key"'
    assert default_query(["items", "odd-key"]).steps == ("items", EACH, "odd-key")
    assert parse_query('[*].a."b c".d', arrays_above=0, where="x").steps == ("a", "b c", "d")
    assert parse_query("[*].a[0].b", arrays_above=0, where="x").steps is None
    assert parse_query("[*].a[?b=='x'].c", arrays_above=1, where="x").steps is None
