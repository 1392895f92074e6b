"""Frames that a model predicts through a `Writer`, under a real `Trainer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import polars as pl

import json2vec as j2v


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def frame(rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"request_id": [f"r{i}" for i in range(rows)], "amount": [1.5 * i for i in range(rows)],
         "merchant": ["books" if i % 2 else "coffee" for i in range(rows)]},
        schema={"request_id": pl.String, "amount": pl.Float64, "merchant": pl.String},
    )  # fmt: skip


QUIET: dict[str, Any] = {
    "accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "enable_checkpointing": False,
}  # fmt: skip


def predict(model: Any, rows: int, writer: Any, **options: Any) -> None:
    datamodule = j2v.PolarsDataModule(
        model=model, predict=frame(rows), missing_columns="allow", persistent_workers=False, pin_memory=False
    )
    trainer = lit.Trainer(callbacks=[writer], **QUIET, **options)
    trainer.predict(model=model, datamodule=datamodule, return_predictions=False)
