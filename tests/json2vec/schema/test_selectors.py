"""Selecting nodes: where(...), predicate(...), callables and addresses."""

from __future__ import annotations

import pickle
import re

import pytest

import json2vec as j2v
from json2vec import predicate, where
from json2vec.schema import editing
from json2vec.schema.selectors import Selector


def build() -> j2v.Schema:
    return j2v.Schema.from_schema(
        j2v.Number("amount", description="in euro", p_mask=0.1),
        j2v.Category("label", target=True, topk=[2, 5]),
        j2v.Array(
            j2v.Number("price", embed=True),
            j2v.Category("sku", active=False),
            j2v.Array(j2v.Entity("who"), name="stops", max_length=3),
            name="items",
            max_length=4,
        ),
        d_model=8, n_layers=1, n_heads=2,
    )  # fmt: skip


def chosen(*selectors: object) -> list[str]:
    return [view.address.partition("/")[2] or "." for view in editing.select(build(), *selectors)]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (where("type") == "number", ["amount", "items/price"]),
        (where("type") != "number", [".", "label", "items", "items/sku", "items/stops", "items/stops/who"]),
        (where("type").is_in(["entity", "category"]), ["label", "items/sku", "items/stops/who"]),
        (where("name").matches(r"^.rice$"), ["items/price"]),
        (where("name").matches(re.compile("^AMOUNT$", re.IGNORECASE)), ["amount"]),
        (where("topk").contains(5), ["label"]),
        (where("description").contains("euro"), ["amount"]),
        (where("description").is_not_null(), ["amount"]),
        (where("description").is_null() & (where("type") == "number"), ["items/price"]),
        (where("topk").exists(), ["label", "items/sku", "items/stops/who"]),
        (where("embed"), ["items/price"]),
        (where("target"), ["label"]),
        (~where("active") & where("active").exists(), ["items/sku"]),
        ((where("p_mask") == 0.1) | (where("max_length") == 3), ["amount", "items/stops"]),
        (where("address") == "record/items/price", ["items/price"]),
        (where("parent") == "record/items", ["items/price", "items/sku", "items/stops"]),
        (where("parent").is_null(), ["."]),
        (where("children").contains("record/items/stops"), ["items"]),
        (where("ancestors").contains("record/items"), ["items/price", "items/sku", "items/stops", "items/stops/who"]),
        (where("descendants").contains("record/items/stops/who"), [".", "items", "items/stops"]),
        (predicate("max_length", lambda length: length > 2), ["items", "items/stops"]),
        (lambda node: node.type == "array" and len(node.children) == 1, ["items/stops"]),
        (lambda node: isinstance(node.node, j2v.Number), ["amount", "items/price"]),
        ("items/price", ["items/price"]),
        ("record/items/price", ["items/price"]),
        ((where("type") == "number") & (lambda node: node.name == "price"), ["items/price"]),
        ((lambda node: node.name == "price") | where("target"), ["label", "items/price"]),
    ],
)
def test_what_selectors_mean(selector: object, expected: list[str]) -> None:
    assert chosen(selector) == expected


def test_several_selectors_must_all_hold() -> None:
    assert chosen(where("type") == "number", where("embed")) == ["items/price"]
    assert len(chosen()) == 8


def test_a_selector_is_neither_true_nor_false() -> None:
    with pytest.raises(TypeError, match="combine selectors with &"):
        bool(where("embed"))
    with pytest.raises(TypeError, match="selector"):
        assert where("type") == "number" and where("embed")  # noqa: PT018


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        (where("p_maks") == 0.1, "did you mean 'p_mask'"),
        (~(where("embed") & where("nonsense")), "no node has an attribute 'nonsense'"),
        (predicate("max_lenght", bool), "did you mean 'max_length'"),
        ("items/prise", "no node 'items/prise'; did you mean 'items/price'"),
        (3, "expected a selector"),
    ],
)
def test_mistakes_are_named(selector: object, says: str) -> None:
    with pytest.raises(j2v.SchemaError, match=says):
        chosen(selector)


def test_an_attribute_of_another_field_type_means_nothing_here() -> None:
    assert chosen(where("n_dim") == 3) == []


def test_bad_operands_are_refused_at_once() -> None:
    with pytest.raises(j2v.SchemaError, match="list of values"):
        where("type").is_in("number")
    with pytest.raises(j2v.SchemaError, match="no regular expression"):
        where("name").matches("(")
    with pytest.raises(j2v.SchemaError, match="function"):
        predicate("name", "upper")  # type: ignore[arg-type]


def test_selectors_are_plain_values() -> None:
    selector = ((where("type") == "number") & ~where("embed")) | where("name").matches("^x")
    again = pickle.loads(pickle.dumps(selector))
    assert isinstance(again, Selector)
    assert repr(again) == repr(selector)
    assert chosen(again) == chosen(selector) == ["amount"]
    view = pickle.loads(pickle.dumps(editing.select(build(), "amount")[0]))
    assert (view.address, view.p_mask) == ("record/amount", 0.1)


def masked(exclude: object) -> tuple[str, ...]:
    schema = j2v.Schema.from_schema(
        j2v.Array(
            j2v.Number("price"), j2v.Entity("who"), j2v.Number("tax"),
            j2v.Array(j2v.Entity("who"), name="stops", max_length=2),
            name="items", max_length=4, mask=j2v.Mask(rate=0.5, exclude=exclude),
        ),
        j2v.Number("amount"),
        d_model=8, n_layers=1, n_heads=2,
    )  # fmt: skip
    assert j2v.Schema.from_dict(schema.to_dict()) == schema
    return schema.arrays[j2v.Address("record/items")].masks[0].exclude


def test_masks_hold_addresses_once_bound() -> None:
    assert masked(where("type") == "entity") == ("record/items/who", "record/items/stops/who")
    assert masked([where("name") == "price", "who"]) == ("record/items/price", "who")
    below_stops = masked(lambda node: node.name == "who" and node.parent == "record/items/stops")
    assert below_stops == ("record/items/stops/who",)
    assert masked(None) == ()


def test_masks_that_exclude_nothing_everything_or_nonsense() -> None:
    for exclude, says in (
        (where("type") == "vector", "no leaf below the array"),
        (where("name") == "amount", "no leaf below the array"),
        (where("type").is_in(["entity", "number"]), "every active leaf"),
        (where("tpye") == "entity", "did you mean 'type'"),
        (7, "expected names, addresses or selectors"),
    ):
        with pytest.raises(j2v.SchemaError, match=says):
            masked(exclude)


def test_a_model_with_a_selector_in_its_mask_saves_and_loads(tmp_path) -> None:
    model = j2v.Model.from_schema(
        j2v.Array(j2v.Number("x"), j2v.Entity("who"), name="items", max_length=2,
                  mask=j2v.Mask(count=1, exclude=where("type") == "entity")),
        d_model=8, n_layers=1, n_heads=2,
    )  # fmt: skip
    loaded = j2v.Model.load(model.save(tmp_path / "m.ckpt"))
    assert loaded.schema == model.schema
    assert loaded.fingerprint() == model.fingerprint()
