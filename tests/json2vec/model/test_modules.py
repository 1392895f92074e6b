"""What stays of the weights when a schema is edited."""

from __future__ import annotations

import pytest
import torch
from edited import ROWS, kept, make, tensors

import json2vec as j2v
from json2vec import where
from json2vec.address import Address


def test_an_update_that_changes_no_shape_keeps_predictions() -> None:
    model = make()
    predicted = model.predict(ROWS)
    before, price = tensors(model), model.nodes["record/items/price"]
    model.update(where("type").is_in(["number", "category"]), p_mask=0.1, dropout=0.2)
    assert kept(before, model)
    assert model.nodes["record/items/price"] is not price
    assert model.predict(ROWS) == predicted
    assert model.schema.leaves[Address("record/amount")].p_mask == 0.1
    assert not model.training


def test_untouched_nodes_stay_the_objects_they_were() -> None:
    model = make()
    label, items = model.nodes["record/label"], model.nodes["record/items"]
    model.update("items/sku", max_vocab_size=32)
    assert model.nodes["record/label"] is label
    assert model.nodes["record/items"] is items


def test_a_change_of_shape_keeps_all_that_fits() -> None:
    model = make()
    before = tensors(model)
    model.update("label", max_vocab_size=16)
    assert kept(before, model, "nodes.record/amount")
    assert kept(before, model, "nodes.record/label.decoder.pool")
    assert kept(before, model, "nodes.record/label.embedder.embeddings.state")
    assert model.state_dict()["nodes.record/label.embedder.embeddings.content.weight"].shape == (16, 8)
    assert model.vocabularies[Address("record/label")].labels == ["a", "b"]
    model.update("items/sku", max_vocab_size=2)
    assert model.vocabularies[Address("record/items/sku")].labels == ["x", "y"]
    assert len(model.predict(ROWS)["record/label"]["content"]["value"]) == 16
    model.update("items", max_length=6)  # more slots: pooling queries are new, embedders stay
    assert kept(before, model, "nodes.record/items/price.embedder")
    assert len(model.predict(ROWS[:1], reconstruct=["items/price"])["record/items/price"]["content"][0]) == 6


def test_extend_delete_and_the_weights_of_the_others() -> None:
    model = make()
    before = tensors(model)
    model.extend(where("name") == "items", j2v.Category("colour", max_vocab_size=4))
    assert kept(before, model)
    model.learn([{"items": [{"colour": "red"}]}])
    assert model.vocabularies[Address("record/items/colour")].labels == ["red"]
    model.delete("items/colour")
    assert kept(before, model)
    assert list(model.state_dict()) == list(before)
    assert Address("record/items/colour") not in model.vocabularies


def test_a_name_given_to_another_type_keeps_nothing() -> None:
    model = make()
    model.delete("items/sku")
    model.extend("items", j2v.Number("sku"))
    assert Address("record/items/sku") not in model.vocabularies
    assert model.predict([{"items": [{"sku": 3}]}])


def test_reset() -> None:
    model = make()
    before = tensors(model)
    model.reset("items/sku")
    assert model.vocabularies[Address("record/items/sku")].labels == []
    assert not kept(before, model, "nodes.record/items/sku.embedder.embeddings")
    assert kept(before, model, "nodes.record/items/price")
    model.reset("items", descendants=True)
    assert not kept(before, model, "nodes.record/items.encoder")
    assert float(model.nodes["record/items/price"].embedder.normalizer.count) == 0  # type: ignore[union-attr]
    assert kept(before, model, "nodes.record/amount")
    with pytest.raises(j2v.SchemaError, match="matches no node"):
        model.reset(where("name") == "nobody")


def test_override_lasts_as_long_as_its_block() -> None:
    model = make()
    schema, before = model.schema, tensors(model)
    with model.override("label", max_vocab_size=2):
        assert model.schema.leaves[Address("record/label")].max_vocab_size == 2  # type: ignore[attr-defined]
        with torch.no_grad():
            model.nodes["record/label"].embedder.embeddings["state"].weight.fill_(7.0)  # type: ignore[union-attr, index]
    assert model.schema == schema
    after = model.state_dict()
    learned = "nodes.record/label.embedder.embeddings.state.weight"
    assert (after[learned] == 7).all()  # what fits is kept
    assert all(torch.equal(before[name], after[name]) for name in before if name != learned)
    with pytest.raises(RuntimeError, match="inside"), model.override("amount", p_mask=0.5):
        raise RuntimeError("inside")
    assert model.schema == schema


def test_override_keeps_what_had_no_room_inside() -> None:
    model = make()
    with model.override("items/sku", max_vocab_size=1):
        assert model.vocabularies[Address("record/items/sku")].labels == ["x"]
    assert model.vocabularies[Address("record/items/sku")].labels == ["x", "y", "z"]
    with model.override("items/sku", p_mask=0.5):
        model.learn([{"items": [{"sku": "new"}]}])
    assert model.vocabularies[Address("record/items/sku")].labels == ["x", "y", "z", "new"]


def test_a_failed_edit_changes_nothing() -> None:
    model = make()
    schema, before = model.schema, tensors(model)
    with pytest.raises(j2v.SchemaError):
        model.update("amount", p_maks=1)
    with pytest.raises(j2v.SchemaError):
        model.delete("record")
    with pytest.raises(j2v.SchemaError):
        model.extend("items", j2v.Number("price"))
    assert model.schema is schema
    assert kept(before, model)


def test_frozen_parameters_stay_frozen() -> None:
    model = make()
    for parameter in model.nodes["record/amount"].parameters():
        parameter.requires_grad_(False)
    model.update("amount", dropout=0.5)
    assert not any(parameter.requires_grad for parameter in model.nodes["record/amount"].parameters())
