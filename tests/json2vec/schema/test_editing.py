"""Editing schemas and models, and what stays of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import polars as pl
import pytest
import torch

import json2vec as j2v
from json2vec import where
from json2vec.address import Address
from json2vec.schema import editing


def build() -> j2v.Schema:
    return j2v.Schema.from_schema(
        j2v.Number("amount"),
        j2v.Category("label", target=True, max_vocab_size=8),
        j2v.Array(
            j2v.Number("price"),
            j2v.Category("sku", max_vocab_size=8),
            name="items",
            max_length=4,
            mask=j2v.Mask(count=1, exclude=["sku"]),
        ),
        d_model=8, n_layers=1, n_heads=2,
    )  # fmt: skip


ROWS: list[dict[str, Any]] = [
    {"amount": 1.0 + k, "label": "ab"[k % 2], "items": [{"price": k, "sku": "xyz"[k % 3]}]} for k in range(16)
]


def make(**options: Any) -> j2v.Model:
    torch.manual_seed(1)
    model = j2v.Model(build(), batch_size=4, **options)
    model.learn(ROWS)
    for address in model.nodes:
        if hasattr(model.nodes[address], "embedder") and hasattr(model.nodes[address].embedder, "normalizer"):
            model.nodes[address].embedder.normalizer.update(torch.arange(5.0))
    return model.eval()


def tensors(model: j2v.Model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def kept(before: dict[str, torch.Tensor], model: j2v.Model, prefix: str = "") -> bool:
    after = model.state_dict()
    names = [name for name in before if name.startswith(prefix)]
    return bool(names) and all(name in after and torch.equal(before[name], after[name]) for name in names)


# Schemas.


def test_update() -> None:
    schema = editing.update(build(), where("type") == "number", p_mask=0.25, n_bands=4)
    assert {leaf.p_mask for leaf in schema.leaves.values() if leaf.type == "number"} == {0.25}
    assert schema.leaves[Address("record/label")] == build().leaves[Address("record/label")]
    assert editing.update(build(), dropout=0.1).root.dropout == 0.1
    assert editing.update(build(), include_root=False, dropout=0.1).root.dropout is None
    assert editing.update(build(), "items", max_length=9).arrays[Address("record/items")].max_length == 9


def test_target_is_short_for_p_prune_both_ways() -> None:
    schema = editing.update(build(), "label", target=False)
    assert schema.target == []
    schema = editing.update(schema, "amount", target=True)
    assert schema.target == ["record/amount"]
    with pytest.raises(j2v.SchemaError, match="contradict"):
        editing.update(build(), "label", target=False, p_prune=1.0)


@pytest.mark.parametrize(
    ("selectors", "values", "says"),
    [
        ([where("type") == "vector"], {"p_mask": 0.1}, r"matches no node. Nodes are: record \(array\), record/amount"),
        ([where("name") == "amont"], {"p_mask": 0.1}, "matches no node"),
        (["amont"], {"p_mask": 0.1}, "no node 'amont'; did you mean 'amount'"),
        (["amount"], {"p_maks": 0.1}, r"record/amount \(number\) has no option 'p_maks'; did you mean 'p_mask'"),
        ([], {"p_mask": 0.1}, "strict=False"),
        (["amount"], {}, "update changes nothing"),
        (["amount"], {"type": "category"}, "keeps its type"),
        (["items"], {"fields": []}, "use extend and delete"),
        (["amount"], {"p_mask": 2}, "less than 1"),
        (["amount"], {"n_heads": 16}, "multiple of n_heads"),
    ],
)
def test_updates_that_cannot_be_meant(selectors: list, values: dict, says: str) -> None:
    with pytest.raises(j2v.SchemaError, match=says):
        editing.update(build(), *selectors, **values)


def test_update_not_strict_leaves_other_nodes_alone() -> None:
    schema = editing.update(build(), strict=False, p_mask=0.25)
    assert {leaf.p_mask for leaf in schema.leaves.values()} == {0.25}
    with pytest.raises(j2v.SchemaError, match="did you mean 'p_mask'"):
        editing.update(build(), strict=False, p_maks=0.25)


def test_extend() -> None:
    schema = editing.extend(build(), j2v.Number("tax"))
    assert list(schema.leaves)[-1] == "record/tax"
    schema = editing.extend(build(), where("name") == "items", j2v.Number("tax"), j2v.Entity("who"))
    assert [child.name for child in schema.arrays[Address("record/items")].fields] == ["price", "sku", "tax", "who"]
    for arguments, says in (
        ([where("name") == "items"], "at least one field"),
        ([where("type") == "array", j2v.Number("x")], "exactly one array; selected: record, record/items"),
        (["amount", j2v.Number("x")], "exactly one array"),
        ([j2v.Number("amount")], "given twice: amount"),
        ([j2v.Number("x"), "items"], "selectors first"),
    ):
        with pytest.raises(j2v.SchemaError, match=says):
            editing.extend(build(), *arguments)


def test_delete() -> None:
    assert list(editing.delete(build(), "items").leaves) == ["record/amount", "record/label"]
    schema = editing.delete(build(), "items/sku")
    assert schema.arrays[Address("record/items")].masks[0].exclude == ()  # what it excluded is gone
    for selectors, says in (
        ([], "would remove everything"),
        (["record"], "cannot be deleted"),
        ([where("name") == "nobody"], "matches no node"),
        ([where("parent") == "record/items"], "without an active field. Remedy: delete the array itself"),
        ([where("parent") == "record"], "needs at least one"),
    ):
        with pytest.raises(j2v.SchemaError, match=says):
            editing.delete(build(), *selectors)


def test_an_edit_gives_a_new_value() -> None:
    schema = build()
    plain = schema.to_dict()
    editing.update(schema, "amount", p_mask=0.5)
    editing.delete(schema, "amount")
    editing.extend(schema, j2v.Number("x"))
    assert schema.to_dict() == plain


# Models.


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


class EditsInBetween(lit.Callback):
    """Tries to edit while the fit runs."""

    error: Exception | None = None

    def on_train_batch_start(self, trainer: lit.Trainer, model: Any, batch: Any, batch_idx: int) -> None:
        try:
            model.update("amount", p_mask=0.5)
        except j2v.SchemaError as exc:
            self.error = exc


@pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.* is deprecated",  # Lightning about torch
    "ignore:Total length of `list` across ranks is zero",  # fitting without a validate split
)
def test_no_edit_while_a_fit_is_running_and_training_goes_on_after_one(tmp_path: Path) -> None:
    model = make(optimizer=j2v.helpers.optimizers.adamw(1e-2))
    data = pl.DataFrame(ROWS)
    quiet: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_epochs": 1,
                             "enable_progress_bar": False, "enable_model_summary": False}  # fmt: skip
    callback = EditsInBetween()
    lit.Trainer(callbacks=[callback], **quiet).fit(model, j2v.PolarsDataModule(model=model, train=data))
    assert callback.error is not None
    assert "while the trainer is running" in str(callback.error)
    assert model.schema.leaves[Address("record/amount")].p_mask == 0
    model.update("amount", p_mask=0.5)
    before = tensors(model)
    lit.Trainer(**quiet).fit(model, j2v.PolarsDataModule(model=model, train=data))
    assert not kept(before, model, "nodes.record/amount.decoder.regression")
    loaded = j2v.Model.load(model.save(tmp_path / "edited.ckpt"))
    assert loaded.fingerprint() == model.fingerprint()
