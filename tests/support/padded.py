"""A model whose arrays skip their padding, and rows for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import json2vec as j2v

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
