"""A model with every field type but Text, records for it, and a frame to train it on."""

from __future__ import annotations

import lightning.pytorch as lit
import numpy as np
import polars as pl
import torch

import json2vec as j2v

LABELS = ["a", "b", "c"]


def make(padding: str = "attend", **options: object) -> j2v.Model:
    torch.manual_seed(7)
    model = j2v.Model.from_schema(
        j2v.Number("amount", embed=True),
        j2v.Set("tags", max_vocab_size=8),
        j2v.DateParts("when", dateparts=["month_of_year", "hour_of_day"]),
        j2v.Vector("vec", n_dim=2),
        j2v.Array(
            j2v.Number("price", n_linear=2),
            j2v.Category("sku", max_vocab_size=8, pooling="mean"),
            j2v.Entity("who"),
            j2v.Category("returned", max_vocab_size=4, target=True, topk=[2]),
            j2v.Array(
                j2v.Category("mode", max_vocab_size=4),
                name="stops", max_length=2, overflow="tail", attention="mqa", embed=True,
            ),
            name="items", max_length=3, attention="gqa", n_linear=2, padding=padding,  # type: ignore[arg-type]
        ),
        j2v.Category("label", max_vocab_size=8, target=True, topk=[2, 3]),
        j2v.Number("score", target=True),
        **{"d_model": 16, "n_layers": 1, "n_heads": 4, "embed": True, "batch_size": 8, **options},  # type: ignore[arg-type]
    )  # fmt: skip
    model.learn(
        [
            {
                "label": label,
                "tags": [label, "z"],
                "items": [{"sku": label, "returned": label, "stops": [{"mode": label}]}],
            }
            for label in LABELS
        ]
    )
    return model.eval()


def numbers(value: object) -> list[float]:
    """All numbers of a prediction, in a fixed order."""
    if isinstance(value, dict):
        return [number for key in sorted(value) for number in numbers(value[key])]
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [value] if isinstance(value, float) else []


def trainable() -> j2v.Model:
    return make(
        batch_size=16,
        optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=3e-3),
    )


def frame(n: int = 64) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 3, n)
    return pl.DataFrame(
        {
            "amount": [None if i % 9 == 0 else 100.0 + 50 * k for i, k in enumerate(label)],
            "tags": [[LABELS[k]] for k in label],
            "when": ["2020-02-29T13:05"] * n,
            "vec": [[float(k), 1.0] for k in label],
            "items": [
                [
                    {
                        "price": float(k),
                        "sku": LABELS[k],
                        "who": "x",
                        "returned": LABELS[k],
                        "stops": [{"mode": LABELS[k]}],
                    }
                ]
                for k in label
            ],
            "label": [LABELS[k] for k in label],
            "score": [None if i % 5 == 0 else 1000.0 + 100 * k for i, k in enumerate(label)],
        }
    )


def trainer(**options: object) -> lit.Trainer:
    return lit.Trainer(**{"accelerator": "cpu", "logger": False, "enable_checkpointing": False,
                          "enable_progress_bar": False, "enable_model_summary": False, **options})  # type: ignore[arg-type]  # fmt: skip


DEVICE_ROWS = [
    {"amount": 1.5, "tags": ["a"], "when": "2020-02-29T13:05", "vec": [1.0, 2.0], "label": "a",
     "items": [{"price": 2.0, "sku": "b", "who": "x"}]},
    {"tags": [], "items": []},
]  # fmt: skip
