"""What a GPU would wait for, tested without one: tensors on torch's ``meta`` device have no values to ask for."""

from __future__ import annotations

import pytest
import torch

import json2vec as j2v
from json2vec.batch import Batch

ROWS = [
    {"amount": 1.5, "tags": ["a"], "when": "2020-02-29T13:05", "vec": [1.0, 2.0], "label": "a",
     "items": [{"price": 2.0, "sku": "b", "who": "x"}]},
    {"tags": [], "items": []},
]  # fmt: skip


def make(padding: str = "attend") -> j2v.Model:
    model = j2v.Model.from_schema(
        j2v.Number("amount", embed=True),
        j2v.Set("tags", max_vocab_size=8),
        j2v.DateParts("when", dateparts=["month_of_year", "hour_of_day"]),
        j2v.Vector("vec", n_dim=2),
        j2v.Array(
            j2v.Number("price"), j2v.Category("sku", max_vocab_size=8), j2v.Entity("who"),
            name="items", max_length=3, attention="gqa", n_linear=2, padding=padding, embed=True,  # type: ignore[arg-type]
        ),
        j2v.Category("label", max_vocab_size=8, target=True, topk=[2]),
        j2v.Number("score", target=True, n_linear=2),
        d_model=16, n_layers=1, n_heads=4, embed=True,
    )  # fmt: skip
    model.learn(ROWS)
    return model.eval()


@pytest.mark.parametrize("padding", ["attend", "skip"])
def test_the_network_never_waits_for_the_device(padding: str) -> None:
    """A decision by a tensor's value, or a shape that depends on one, fails on ``meta``; on a GPU it would wait."""
    model = make(padding)
    batch, every_leaf = model.encode(ROWS), list(model.schema.active)
    expected = model.infer(batch, every_leaf).emitted
    found = model.to("meta").infer(batch.to("meta"), every_leaf).emitted
    assert set(found) >= set(every_leaf)
    for address, tensors in found.items():
        assert {key: tensor.shape for key, tensor in tensors.items()} == {
            key: tensor.shape for key, tensor in expected[address].items()
        }
        assert all(tensor.is_meta for tensor in tensors.values())


@pytest.mark.parametrize(("device", "asked"), [("cuda", True), ("cpu", False), ("mps", False)])
def test_batches_go_to_a_gpu_without_waiting(monkeypatch: pytest.MonkeyPatch, device: str, asked: bool) -> None:
    calls: list[tuple[torch.device, bool]] = []
    monkeypatch.setattr(
        Batch, "to", lambda self, device, non_blocking=False: calls.append((device, non_blocking)) or self
    )
    model = make()
    batch = model.encode(ROWS)
    assert model.transfer_batch_to_device(batch, torch.device(device), 0) is batch
    assert calls == [(torch.device(device), asked)]
    numbers = torch.ones(2)
    assert model.transfer_batch_to_device(numbers, torch.device("cpu"), 0) is numbers
