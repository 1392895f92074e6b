"""Editing schemas, and models while nobody trains them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import polars as pl
import pytest
from edited import ROWS, build, kept, make, tensors

import json2vec as j2v
from json2vec import where
from json2vec.address import Address
from json2vec.schema import editing


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
