"""`Array(padding="skip")`: padding stays out of attention, in training and on both ways of prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import json2vec as j2v
from json2vec.nn import cpu
from json2vec.nn.encoder import ArrayEncoder
from json2vec.nn.slots import Slots

RNG = np.random.default_rng(5)


def item(*, stops: int | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"price": float(RNG.normal()), "sku": "abc"[RNG.integers(3)]}
    return made if stops is None else {**made, "stops": [{"mode": "xy"[RNG.integers(2)]} for _ in range(stops)]}


def rows(count: int = 24) -> list[dict[str, Any]]:
    """Lists of 0 to 5 items, some with stops and some without; a null item and a null value keep their slots."""
    made: list[dict[str, Any]] = [
        {"items": [item(stops=int(RNG.integers(0, 3))) for _ in range(n % 6)]} for n in range(count)
    ]
    made[5]["items"][1] = None
    made[4]["items"][0]["price"] = None
    return [*made, {}, {"items": None}]


def make(padding: str, max_length: int = 6, nested: bool = True, **options: Any) -> Any:
    torch.manual_seed(11)
    stops = [j2v.Array(j2v.Category("mode", max_vocab_size=4), name="stops", max_length=2, padding=padding, embed=True)]
    model = j2v.Model.from_schema(
        j2v.Number("amount"),
        j2v.Array(
            j2v.Number("price"), j2v.Category("sku", max_vocab_size=8), *(stops if nested else []),
            name="items", max_length=max_length, padding=padding, **{"n_linear": 2, "embed": True, **options},
        ),
        j2v.Category("label", max_vocab_size=8, target=True),
        d_model=16, n_layers=1, n_heads=4, embed=True, batch_size=64,
    )  # fmt: skip
    model.learn([{"label": one, "items": [{"sku": one, "stops": [{"mode": one}]}]} for one in "abxy"])
    return model.eval()


def vectors(model: Any, records: list[dict[str, Any]], address: str = "record/items") -> np.ndarray:
    return np.array(model.predict(records)[address]["embedding"])


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


@pytest.mark.parametrize("nested", [True, False])
def test_the_length_that_arrays_are_padded_to_does_not_matter(nested: bool) -> None:
    records = rows()
    short, long = make("skip", 6, nested), make("skip", 17, nested)
    long.load_state_dict({**long.state_dict(), **{
        name: value for name, value in short.state_dict().items() if long.state_dict()[name].shape == value.shape
    }})  # fmt: skip
    for address in ("record", "record/items"):
        assert np.allclose(vectors(short, records, address), vectors(long, records, address), atol=1e-5), address
    assert not np.allclose(vectors(make("attend", 6, nested), records), vectors(make("attend", 17, nested), records),
                           atol=1e-3)  # fmt: skip


def test_items_still_count_and_so_does_their_order() -> None:
    model = make("skip", nested=False)
    one, two = item(), item()
    found = vectors(model, [{"items": [one]}, {"items": [one, two]}, {"items": [two, one]}, {"items": [one, None]},
                            {"items": []}, {}])  # fmt: skip
    different = [(0, 1), (1, 2), (0, 3), (0, 4)]
    assert all(np.abs(found[a] - found[b]).max() > 1e-3 for a, b in different)
    assert np.allclose(found[4], found[5])
    assert np.isfinite(found).all()


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
