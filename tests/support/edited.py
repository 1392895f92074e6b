"""A nested schema and a model to edit."""

from __future__ import annotations

from typing import Any

import torch

import json2vec as j2v


def build() -> j2v.Schema:
    return j2v.Schema.from_schema(
        j2v.Number("amount"),
        j2v.Category("label", target=True, max_vocab_size=8),
        j2v.Array(
            j2v.Number("price"),
            j2v.Category("sku", max_vocab_size=8),
            name="items",
            max_length=4,
            mask=j2v.Mask(count=1, exclude=["sku"]),
        ),
        d_model=8, n_layers=1, n_heads=2,
    )  # fmt: skip


ROWS: list[dict[str, Any]] = [
    {"amount": 1.0 + k, "label": "ab"[k % 2], "items": [{"price": k, "sku": "xyz"[k % 3]}]} for k in range(16)
]


def make(**options: Any) -> j2v.Model:
    torch.manual_seed(1)
    model = j2v.Model(build(), batch_size=4, **options)
    model.learn(ROWS)
    for address in model.nodes:
        if hasattr(model.nodes[address], "embedder") and hasattr(model.nodes[address].embedder, "normalizer"):
            model.nodes[address].embedder.normalizer.update(torch.arange(5.0))
    return model.eval()


def tensors(model: j2v.Model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def kept(before: dict[str, torch.Tensor], model: j2v.Model, prefix: str = "") -> bool:
    after = model.state_dict()
    names = [name for name in before if name.startswith(prefix)]
    return bool(names) and all(name in after and torch.equal(before[name], after[name]) for name in names)
