"""What the data modules share: splits, options by split, and the words for what cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from row_ids import Model, frame, trainer

from json2vec.data.polars import PolarsDataModule
from json2vec.data.streaming import StreamingDataModule
from json2vec.errors import ProcessorError, SchemaError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # on purpose: a thread encodes
    "ignore:.*_pytree.*",
    "ignore:.*LeafSpec.*",
    "ignore:.*barrier.*",
    "ignore:Total length of `list` across ranks is zero",  # fit without a validate split
)


def test_a_split_that_is_not_configured(folder: Path) -> None:
    data = StreamingDataModule(Model(), folder, "parquet", train="parquet")
    with pytest.raises(SchemaError, match=r"no predict split configured: StreamingDataModule has.*pass predict="):
        trainer().predict(Model(), datamodule=data)
    with pytest.raises(SchemaError, match="no validate split configured"):
        trainer().validate(Model(), datamodule=data)
    with pytest.raises(SchemaError, match="no test split"):
        trainer().test(Model(), datamodule=data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has no split"),
        ({"predict": 1}, "must be a polars DataFrame or LazyFrame; got int"),
        ({"predict": frame(1), "dataframe": frame(1)}, "not both"),
        ({"predict": frame(1), "num_worker": 1}, "'num_worker' .did you mean 'num_workers'"),
        ({"predict": frame(1), "factor": 1}, "does not take .'factor'"),
        ({"predict": frame(1), "sample_rate": 0}, r"sample_rate of train must be in \(0, 1\]"),
        ({"predict": frame(1), "sharding": "chunks"}, "did you mean 'chunk'"),
        ({"predict": frame(1), "num_workers": {"predct": 1}}, "did you mean 'predict'"),
        ({"dataframe": {"predct": frame(1)}}, "no split 'predct'"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        PolarsDataModule(Model(), **options)


def test_options_by_split() -> None:
    data = PolarsDataModule(Model(), train=frame(1), num_workers={"train": 2}, chunk_batch_size=9)
    assert [data.option("num_workers", s) for s in ("train", "predict")] == [2, 0]
    assert data.option("chunk_batch_size", "test") == 9


def test_preprocessors_of_training_and_prediction() -> None:
    def shifted(row: dict, *, by: int) -> dict:
        return {"id": row["id"] + by}

    model = Model()
    data = PolarsDataModule(model, train=frame(4), predict=frame(4), preprocessor=shifted, by=100)
    trainer(max_epochs=1).fit(model, datamodule=data)
    assert model.learned == [100, 101, 102, 103]
    assert model.preprocessor_fingerprint == data.preprocessor.fingerprint  # type: ignore[union-attr]
    assert trainer().predict(model, datamodule=data) == [[100, 101, 102, 103]]
    with pytest.warns(UserWarning, match="trained with a preprocessor of fingerprint"):
        trainer().predict(model, datamodule=PolarsDataModule(model, predict=frame(1)))
    strict = PolarsDataModule(model, predict=frame(1), preprocessor=shifted, by=99, strict_preprocessor=True)
    with pytest.raises(ProcessorError, match="trained with a preprocessor"):
        trainer().predict(model, datamodule=strict)
    with pytest.raises(ProcessorError, match="did you mean 'by'"):
        PolarsDataModule(model, predict=frame(1), preprocessor=shifted, bye=1)
