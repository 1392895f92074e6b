"""Hidden slots: which ones, and that their reconstruction trains."""

from __future__ import annotations

import numpy as np
import torch
from every_field import frame, trainer

import json2vec as j2v


def test_masks_and_reconstruction_train() -> None:
    torch.manual_seed(0)
    model = j2v.Model.from_schema(
        j2v.Number("amount", p_mask=0.3),
        j2v.DateParts("when", dateparts=["hour_of_day"], p_prune=0.3),
        j2v.Vector("vec", n_dim=2, p_mask=0.5),
        j2v.Set("tags", p_mask=0.5, max_vocab_size=8),
        j2v.Array(
            j2v.Category("sku", max_vocab_size=8), j2v.Number("price"), j2v.Entity("who"),
            name="items", max_length=3, mask=j2v.Mask(count=1, exclude="price"),
        ),
        d_model=16, n_layers=1, n_heads=4, batch_size=16,
        optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=3e-3),
    )  # fmt: skip
    data = frame()
    run = trainer(max_epochs=2)
    run.fit(model, j2v.PolarsDataModule(model=model, train=data, validate=data))
    logged = set(run.callback_metrics)
    assert "loss/train" in logged
    assert "record:items:sku/validate:loss:content" in logged
    assert not any(name.startswith("record:items:price") for name in logged)
    assert all(torch.isfinite(value) for value in run.callback_metrics.values())


def test_array_masks_hide_the_items_they_name() -> None:
    rows = [{"items": [{"x": float(i)} for i in range(n)]} for n in (0, 1, 3, 5)]

    def hidden(**mask: object) -> list[list[int]]:
        model = j2v.Model.from_schema(
            j2v.Array(j2v.Number("x"), name="items", max_length=5, mask=j2v.Mask(**mask)),
            d_model=8,
            n_layers=1,
            n_heads=2,
        )
        state = model.encode(rows, strata="validate").fields[j2v.Address("record/items/x")].state
        return [np.flatnonzero(row == j2v.Tokens.masked).tolist() for row in state.reshape(4, 5).numpy()]

    assert hidden(rate=1.0) == [[], [0], [0, 1, 2], [0, 1, 2, 3, 4]]
    assert hidden(rate=1.0, window=2) == [[], [0], [1, 2], [3, 4]]
    assert hidden(rate=1.0, window=2, start=True) == [[], [0], [0, 1], [0, 1]]
    assert hidden(rate=1.0, offset=1) == [[], [], [0, 1], [0, 1, 2, 3]]
    assert hidden(rate=1.0, offset=1, start=True) == [[], [], [1, 2], [1, 2, 3, 4]]
    assert [len(row) for row in hidden(count=2)] == [0, 1, 2, 2]
