"""A small model and rows for it."""

from __future__ import annotations

import pyarrow as pa

import json2vec as j2v


def make_model(batch_size: int = 4) -> j2v.Model:
    model = j2v.Model.from_schema(
        j2v.Number("price"), j2v.Category("city", max_vocab_size=8), j2v.Number("late", target=True),
        j2v.Array(j2v.Number("weight"), j2v.Set("tags", max_vocab_size=4), name="items", max_length=3),
        d_model=8, n_layers=1, n_heads=2, batch_size=batch_size,
    )  # fmt: skip
    model.learn([{"city": "Ulm", "items": [{"tags": ["a", "b"]}]}])
    return model.eval()


def make_rows(count: int, bad: int | None = None) -> pa.Table:
    return pa.Table.from_pylist([
        {"price": "a lot" if n == bad else str(n), "city": "Ulm" if n % 3 else None, "late": 0.0,
         "items": [{"weight": float(k), "tags": ["b"]} for k in range(n % 4)]}
        for n in range(count)
    ])  # fmt: skip
