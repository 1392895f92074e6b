"""Folders as data module: what is read, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from row_ids import Model, trainer

from json2vec.data.streaming import StreamingDataModule
from json2vec.errors import ReadError, SchemaError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # on purpose: a thread encodes
    "ignore:.*_pytree.*",
    "ignore:.*LeafSpec.*",
    "ignore:.*barrier.*",
    "ignore:Total length of `list` across ranks is zero",  # fit without a validate split
)


def test_streaming(folder: Path) -> None:
    model = Model()
    data = StreamingDataModule(
        model, root=folder, suffix="parquet", train=r"/[0-2]\.parquet$", predict=r"/[34]\.parquet$", seed=3
    )
    trainer(max_epochs=1).fit(model, datamodule=data)
    assert sorted(model.seen) == model.learned == list(range(12))
    predicted = trainer().predict(model, datamodule=data)
    assert [i for batch in predicted or [] for i in batch] == list(range(12, 50))  # type: ignore[union-attr]
    frozen = StreamingDataModule(model, folder, "parquet", predict=data.snapshot("predict"))
    assert frozen.predict_plan(2).digest == data.predict_plan(2).digest


def test_files_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no file below"):
        StreamingDataModule(Model(), folder, "parquet", predict="absent").predict_plan(1)
    with pytest.raises(ReadError, match="does not exist"):
        StreamingDataModule(Model(), tmp_path / "none", "parquet", predict=".").predict_plan(1)


def test_streaming_options_that_cannot_be_meant(folder: Path) -> None:
    with pytest.raises(SchemaError, match="suffix 'parket' is unknown"):
        StreamingDataModule(Model(), folder, "parket", predict=".")
    with pytest.raises(SchemaError, match="no regular expression"):
        StreamingDataModule(Model(), folder, "parquet", predict="(")
