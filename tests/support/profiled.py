"""A small model, its input schema and rows of it."""

from __future__ import annotations

from typing import Any

import numpy as np

import json2vec as j2v


def make_model(**options: Any) -> j2v.Model:
    return j2v.Model.from_schema(
        j2v.Number("amount"),
        j2v.Category("merchant", max_vocab_size=3),
        j2v.Set("tags", max_vocab_size=8),
        j2v.Array(j2v.Number("price"), j2v.Category("sku", max_vocab_size=8), name="items", max_length=2),
        j2v.Category("label", max_vocab_size=4, target=True),
        d_model=8, n_layers=1, n_heads=2, **options,
    )  # fmt: skip


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "amount": None if rng.random() < 0.2 else float(rng.normal()),
            "merchant": f"m{min(rng.integers(0, 5), rng.integers(0, 5))}",
            "tags": [f"t{k}" for k in rng.integers(0, 3, rng.integers(0, 3))],
            "items": [{"price": float(i), "sku": "a"} for i in range(rng.integers(0, 4))],
            "label": "x",
        }
        for _ in range(count)
    ]
