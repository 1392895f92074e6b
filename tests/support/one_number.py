"""A model of one number."""

from __future__ import annotations

from typing import Any

import json2vec as j2v


def model(optimizer: Any, scheduler: Any = None) -> j2v.Model:
    return j2v.Model.from_schema(
        j2v.Number("x", target=True), j2v.Number("y"), d_model=8, n_layers=1, n_heads=2, optimizer=optimizer,
        scheduler=scheduler,
    )  # fmt: skip
