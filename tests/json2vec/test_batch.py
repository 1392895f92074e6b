"""Batches move to a device without anybody waiting for it."""

from __future__ import annotations

import pytest
import torch
from every_field import DEVICE_ROWS, make
from lightning.fabric.utilities import move_data_to_device


@pytest.mark.parametrize(("device", "asked"), [("cuda", True), ("cuda:1", True), ("cpu", False), ("mps", False)])
def test_batches_go_to_a_gpu_without_waiting(monkeypatch: pytest.MonkeyPatch, device: str, asked: bool) -> None:
    """By Lightning's way of moving them, which passes ``non_blocking`` to plain tensors only."""
    batch = make().encode(DEVICE_ROWS)
    calls: list[tuple[str, bool]] = []

    def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        calls.append((str(device), non_blocking))
        return tensor

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", to)
        move_data_to_device(batch, torch.device(device))
    assert set(calls) == {(device, asked)}
    assert len(calls) == sum(1 + len(field.content) for field in batch.fields.values())
