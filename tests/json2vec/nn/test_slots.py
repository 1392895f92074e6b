"""`Array(padding="skip")`: padding stays out of attention, in training and on both ways of prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from padded import make, rows, vectors

import json2vec as j2v
from json2vec.nn import cpu
from json2vec.nn.encoder import ArrayEncoder
from json2vec.nn.slots import Slots


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("attention", ["mha", "gqa", "mqa", "none"])
def test_training_and_prediction_mean_the_same(nested: bool, attention: str) -> None:
    model, records = make("skip", nested=nested, attention=attention), rows()
    batch = model.encode(records)
    with torch.no_grad():
        fast, _ = model(batch)
        slow, _ = model.train()(batch)
    for address in fast:
        assert torch.allclose(fast[address], slow[address], atol=1e-5), address


def test_one_by_one_and_in_any_batch() -> None:
    model, records = make("skip"), rows()
    together = model.predict(records)
    for index in range(len(records)):
        alone = model.predict([records[index]])
        for address in ("record", "record/items"):
            assert np.allclose(alone[address]["embedding"][0], together[address]["embedding"][index], atol=1e-5)


def test_padded_slots_cannot_be_seen() -> None:
    """Whatever a padded token holds: the vector is that of the valid tokens."""
    torch.manual_seed(2)
    encoder = ArrayEncoder(16, 4, "mha", 2, 2, 0.0).eval()
    tokens, occupied = torch.randn(40, 3 * 7, 16), torch.zeros(40, 3, 7, dtype=torch.bool)
    for row in range(40):
        occupied[row, :, : row % 8] = True
    occupied[9, 1, 0] = occupied[17, 2, 6] = False  # children whose items differ
    slots = Slots.of(occupied.flatten(1), 7)
    other = torch.where(slots.valid_BL.unsqueeze(-1), tokens, torch.randn_like(tokens) * 50)
    with torch.no_grad():
        assert cpu.applies(encoder, tokens)
        assert torch.allclose(encoder(tokens, slots), encoder(other, slots), atol=1e-6)
        assert torch.allclose(encoder(tokens, slots), encoder.by_the_formulas(other, slots), atol=1e-5)
        assert not torch.allclose(encoder(tokens), encoder(other), atol=1e-2)


def test_the_option_is_kept_and_the_default_leaves_no_trace(tmp_path: Path) -> None:
    skipping, records = make("skip"), rows()
    loaded = j2v.Model.load(skipping.save(tmp_path / "skip.ckpt"))
    assert loaded.schema.arrays[j2v.Address("record/items")].padding == "skip"
    assert loaded.fingerprint() == skipping.fingerprint()
    assert np.allclose(vectors(loaded, records), vectors(skipping, records), atol=1e-6)
    plain = make("attend")
    assert "padding" not in str(plain.schema.to_dict())
    assert plain.fingerprint() != skipping.fingerprint()
    skipping.update(j2v.where("name") == "items", padding="attend")
    skipping.update(j2v.where("name") == "stops", padding="attend")
    assert skipping.fingerprint() == plain.fingerprint()
    with pytest.raises(j2v.SchemaError, match="padding"):
        j2v.Array(j2v.Number("x"), name="items", padding="ignore")
