"""The batch-inference example of the documentation, as it is written there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import polars as pl
import pytest
import torch

import json2vec as j2v

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.* is deprecated",  # Lightning about torch
    "ignore:Couldn't infer the batch indices",  # our batches are no tensors
    "ignore:Total length of `list` across ranks is zero",  # fitting without a validate split
)


def compact_rows(context: dict[Any, Any], predictions: dict[j2v.Address, dict]) -> dict[j2v.Address, dict]:
    label = predictions.get(j2v.Address("record", "label"), {}).get("content", {})
    metadata = context[j2v.TensorKey.metadata]
    return {
        j2v.Address("record", "warehouse_row"): {
            "request_id": [item.get("request_id") for item in metadata],
            "label": label.get("value"),
            "label_probability": label.get("probability"),
        }
    }


@pytest.fixture
def predict_frame() -> pl.DataFrame:
    return pl.DataFrame({"amount": [12.5, 8.0], "merchant": ["books", "coffee"]})


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    options: Any = j2v
    model = options.Model.from_schema(
        options.Number("amount"),
        options.Category("merchant", max_vocab_size=16),
        options.Category("label", target=True, max_vocab_size=8),
        d_model=16, n_layers=1, n_heads=4, batch_size=2,
        optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2),
    )  # fmt: skip
    train = pl.DataFrame({
        "amount": [12.0, 9.0, 14.0, 7.5], "merchant": ["books", "coffee"] * 2, "label": ["gift", "drink"] * 2,
    })  # fmt: skip
    datamodule = j2v.PolarsDataModule(
        model=model, train=train, num_workers=0, persistent_workers=False, pin_memory=False
    )
    trainer = lit.Trainer(
        accelerator="cpu", max_epochs=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=datamodule)
    return model


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_frame_to_rank_files(model: Any, predict_frame: pl.DataFrame) -> None:
    datamodule = j2v.PolarsDataModule(
        model=model, predict=predict_frame, num_workers=0, persistent_workers=False, pin_memory=False
    )
    writer = j2v.Writer("predictions", flush_every_n_batches=100)
    trainer = lit.Trainer(accelerator="cpu", callbacks=[writer], logger=False)
    trainer.predict(model=model, datamodule=datamodule)

    rows = j2v.read_predictions("predictions").collect()
    assert rows["inputs"].struct.unnest().equals(predict_frame)
    direct = model.predict(predict_frame.to_dicts())[j2v.Address("record", "label")]["content"]
    stored = rows["predictions"].struct.field("record/label").struct.field("content")
    assert stored.struct.field("value").to_list() == direct["value"]
    assert stored.struct.field("probability").to_list() == pytest.approx(direct["probability"], abs=1e-5)
    report = j2v.verify_predictions("predictions", inputs=predict_frame, model=model)
    assert report.passed, report.summary()


def test_compact_rows(model: Any, predict_frame: pl.DataFrame) -> None:
    frame = predict_frame.with_columns(request_id=pl.Series(["r-1", "r-2"]))
    datamodule = j2v.PolarsDataModule(
        model=model, predict=frame, num_workers=0, persistent_workers=False, pin_memory=False
    )
    writer = j2v.Writer("predictions", flush_every_n_batches=100, postprocessor=compact_rows)
    trainer = lit.Trainer(accelerator="cpu", callbacks=[writer], logger=False)
    trainer.predict(model=model, datamodule=datamodule)

    flat = j2v.read_predictions("predictions").collect()["predictions"].struct.field("record/warehouse_row")
    direct = model.predict(frame.to_dicts())[j2v.Address("record", "label")]["content"]
    assert flat.struct.field("request_id").to_list() == ["r-1", "r-2"]
    assert flat.struct.field("label").to_list() == direct["value"]
    assert flat.struct.field("label_probability").to_list() == pytest.approx(direct["probability"], abs=1e-5)


def test_streaming_from_a_local_folder(model: Any, predict_frame: pl.DataFrame) -> None:
    for name in ("predict/part-0.parquet", "predict/part-1.parquet", "train/part-0.parquet"):
        Path("events", name).parent.mkdir(parents=True, exist_ok=True)
        predict_frame.write_parquet(Path("events", name))
    datamodule = j2v.StreamingDataModule(
        model=model, root="events", suffix="parquet", predict=r"/predict/.*\.parquet$", sharding="chunk"
    )
    trainer = lit.Trainer(accelerator="cpu", callbacks=[j2v.Writer("predictions")], logger=False)
    trainer.predict(model=model, datamodule=datamodule)

    rows = j2v.read_predictions("predictions").collect()
    found = rows["source"].struct.unnest().select("file", "row").cast({"file": pl.String}).rows()
    assert found == [
        ("predict/part-0.parquet", 0), ("predict/part-0.parquet", 1),
        ("predict/part-1.parquet", 0), ("predict/part-1.parquet", 1),
    ]  # fmt: skip
    assert j2v.verify_predictions("predictions", model=model).passed


def test_a_checkpoint_predicts_the_same(model: Any, predict_frame: pl.DataFrame) -> None:
    loaded = j2v.Model.load(model.save("model.ckpt"))
    address = j2v.Address("record", "label")
    before, after = (one.predict(predict_frame.to_dicts())[address]["content"] for one in (model, loaded))
    assert before == after
