"""What a GPU would wait for, tested without one: tensors on torch's ``meta`` device have no values to ask for."""

from __future__ import annotations

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device

import json2vec as j2v

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


@pytest.mark.parametrize(("device", "asked"), [("cuda", True), ("cuda:1", True), ("cpu", False), ("mps", False)])
def test_batches_go_to_a_gpu_without_waiting(monkeypatch: pytest.MonkeyPatch, device: str, asked: bool) -> None:
    """By Lightning's way of moving them, which passes ``non_blocking`` to plain tensors only."""
    batch = make().encode(ROWS)
    calls: list[tuple[str, bool]] = []

    def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        calls.append((str(device), non_blocking))
        return tensor

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", to)
        move_data_to_device(batch, torch.device(device))
    assert set(calls) == {(device, asked)}
    assert len(calls) == sum(1 + len(field.content) for field in batch.fields.values())
