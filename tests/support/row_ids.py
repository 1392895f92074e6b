"""A model that only collects the ids of the rows it is given, and frames and folders of numbered rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from json2vec.batch import Batch
from json2vec.reading.row_batch import RowBatch


class Model(lit.LightningModule):
    """What the loaders need of a model, and enough to be trained."""

    def __init__(self, batch_size: int = 4, vocabularies: Any = ("label",)) -> None:
        super().__init__()
        self.batch_size, self.vocabularies = batch_size, vocabularies
        self.preprocessor_fingerprint: str | None = None
        self.learned: list[Any] = []
        self.seen: list[Any] = []
        self.layer = torch.nn.Linear(1, 1)

    def encode(self, rows: RowBatch, *, strata: str = "predict") -> Batch:
        return Batch({}, len(rows), rows)

    def learn(self, observations: pa.RecordBatch) -> None:
        self.learned += observations.column(0).to_pylist()

    def _step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen += ids([batch])
        return self.layer(torch.ones(len(batch), 1)).mean()

    training_step = validation_step = test_step = _step

    def predict_step(self, batch: Batch, batch_idx: int) -> list[int]:
        return ids([batch])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def ids(batches: Any) -> list[int]:
    return [i for batch in batches for i in batch.rows.observations.column(0).to_pylist()]


def frame(rows: int, start: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"id": range(start, start + rows)}, schema={"id": pl.Int64})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    start = 0
    for i, rows in enumerate([11, 0, 1, 30, 8]):
        pq.write_table(pa.table({"id": pa.array(range(start, start + rows), pa.int64())}), tmp_path / f"{i}.parquet")
        start += rows
    return tmp_path


def trainer(**options: Any) -> lit.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu",
             "enable_checkpointing": False}  # fmt: skip
    return lit.Trainer(**(quiet | options))
