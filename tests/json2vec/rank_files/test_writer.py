"""`Writer` under a real `Trainer`."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from predicted import QUIET, frame, names, predict
from torch.utils.data import DataLoader

import json2vec as j2v
from json2vec.errors import IncompletePredictions, Json2VecError, ProcessorError
from json2vec.rank_files.journal import read_segments
from json2vec.storage.local import LocalStore

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_the_batch_path_gives_the_numbers_of_the_interactive_one(model: Any, tmp_path: Path) -> None:
    writer = j2v.Writer(tmp_path / "out", flush_every_n_batches=2)
    predict(model, 21, writer)
    assert pq.ParquetFile(tmp_path / "out" / "rank-0.parquet").num_row_groups == 2  # three batches of 8 rows
    found = j2v.read_predictions(tmp_path / "out").collect()
    assert found["inputs"].struct.unnest().equals(frame(21))
    stored = found["predictions"].struct.field("record/label").struct.field("content").struct.field("probability")
    expected = model.predict(frame(21).to_dicts())["record/label"]["content"]["probability"]
    assert stored.to_list() == pytest.approx(expected, rel=1e-5)
    settings = writer.manifest.settings
    assert settings == {"device": "cpu", "precision": "32-true", "batch_size": 8, "threads": settings["threads"],
                        "preprocessor": None, "postprocessor": None, "inputs": True, "reconstruct": []}  # fmt: skip


def compact_rows(context: Any, predictions: Any) -> Any:
    label = predictions.get(j2v.Address("record", "label"), {}).get("content", {})
    metadata = context[j2v.TensorKey.metadata]
    assert {"input", "batch", "batch_indices", "batch_idx", "dataloader_idx"} < set(context)
    return {j2v.Address("record", "warehouse_row"): {
        "request_id": [item.get("request_id") for item in metadata],
        "label": label.get("value"), "label_probability": label.get("probability")}}  # fmt: skip


def test_the_documented_postprocessor(model: Any, tmp_path: Path) -> None:
    predict(model, 21, j2v.Writer(tmp_path / "out", postprocessor=compact_rows))
    found = j2v.read_predictions(tmp_path / "out").collect()
    rows = found["predictions"].struct.field("record/warehouse_row").struct.unnest()
    assert rows.columns == ["request_id", "label", "label_probability"]
    assert rows["request_id"].to_list() == [f"r{i}" for i in range(21)]
    report = j2v.verify_predictions(tmp_path / "out", inputs=frame(21), model=model, postprocessor=compact_rows)
    assert report.finding("replay").passed, report.summary()
    assert report.finding("values").passed is None
    report = j2v.verify_predictions(tmp_path / "out", inputs=frame(21), model=model)
    assert "test_writer:compact_rows" in report.finding("replay").found


def test_an_error_in_the_writers_thread_ends_the_prediction(model: Any, tmp_path: Path) -> None:
    def post(context: Any, predictions: Any) -> Any:
        if context["batch_idx"] == 9:  # the last batch: raised at the end
            raise RuntimeError("no more")
        return None

    with pytest.raises(ProcessorError, match="no more"):
        predict(model, 80, j2v.Writer(tmp_path / "out", postprocessor=post))
    assert list((tmp_path / "out").iterdir()) == []


def test_an_exception_mid_write_leaves_nothing_committed(model: Any, tmp_path: Path) -> None:
    predict(model, 16, j2v.Writer(tmp_path / "out"))

    class Dies(lit.Callback):
        def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int,
                                 dataloader_idx: int = 0) -> None:  # fmt: skip
            if batch_idx == 3:
                raise RuntimeError("rank died")

    writer = j2v.Writer(tmp_path / "out", segment_rows=16)
    datamodule = j2v.PolarsDataModule(model=model, predict=frame(64), missing_columns="allow", pin_memory=False)
    trainer = lit.Trainer(callbacks=[writer, Dies()], **QUIET)
    with pytest.raises(RuntimeError, match="rank died"):
        trainer.predict(model=model, datamodule=datamodule, return_predictions=False)
    left = names(tmp_path / "out")
    assert all(name.startswith("rank-0.") and name.endswith(".parquet") for name in left), left
    with pytest.raises(IncompletePredictions, match="nothing was committed"):
        j2v.read_predictions(tmp_path / "out")
    predict(model, 16, j2v.Writer(tmp_path / "out"))  # the next run repairs it
    assert names(tmp_path / "out") == ["_manifest.json", "rank-0.json", "rank-0.parquet"]


@pytest.mark.parametrize("segment", [0, 2])
def test_a_rank_that_is_told_to_end_finishes_the_segment_in_hand(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segment: int
) -> None:
    """SIGTERM between a segment's file and its line in the journal; segment 2 is the last one, sealed at the end."""

    def told_to_end(number: int, frame: Any) -> None:
        raise SystemExit(143)

    def upload(store: LocalStore, source: Any, path: str, **options: Any) -> None:
        moved(store, source, path, **options)
        if path == f"rank-0.{segment}.parquet":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)  # for the main thread to take it

    moved = LocalStore.upload
    monkeypatch.setattr(LocalStore, "upload", upload)
    before = signal.signal(signal.SIGTERM, told_to_end)
    try:
        with pytest.raises(SystemExit):
            predict(model, 40, j2v.Writer(tmp_path / "out", segment_rows=16, commit=False, settings_digest="s"))
    finally:
        signal.signal(signal.SIGTERM, before)
    journal = [one.file.path for one in read_segments(LocalStore(tmp_path / "out"))]
    assert f"rank-0.{segment}.parquet" in journal
    assert sorted(journal) == [name for name in names(tmp_path / "out") if name.endswith(".parquet")]


def test_an_empty_split_is_an_empty_result(model: Any, tmp_path: Path) -> None:
    predict(model, 0, j2v.Writer(tmp_path / "out"))
    found = j2v.read_predictions(tmp_path / "out").collect()
    assert found.shape == (0, 3)
    assert j2v.verify_predictions(tmp_path / "out", inputs=frame(0), model=model).passed


def test_ranks_of_a_launcher_commit_together(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        writer = j2v.Writer(tmp_path / "out", attempt="shared", inputs=["request_id"], reconstruct=["merchant"])
        predict(model, 21, writer)
        assert (writer.manifest is not None) == (rank == 0)
    found = j2v.read_predictions(tmp_path / "out").collect()
    assert found["inputs"].struct.field("request_id").to_list() == [f"r{i}" for i in range(21)]
    assert "record/merchant" in found["predictions"].struct.fields
    report = j2v.verify_predictions(tmp_path / "out", inputs=frame(21), model=model)
    assert report.finding("replay").passed, report.summary()
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    predict(model, 5, j2v.Writer(tmp_path / "out"))  # fewer ranks: rank 1 is no more
    assert names(tmp_path / "out") == ["_manifest.json", "rank-0.json", "rank-0.parquet"]


def test_rank_0_waits_and_names_the_others(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(IncompletePredictions, match="ranks 1, 2 at fault") as error:
        predict(model, 21, j2v.Writer(tmp_path / "out", attempt="x", commit_timeout_s=0.2))
    assert error.value.ranks == (1, 2)


def test_a_launcher_resets_and_commits_by_itself(model: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rank-5.parquet").write_bytes(b"")
    writer = j2v.Writer(tmp_path / "out", commit=False, attempt="a")
    predict(model, 5, writer)
    assert writer.marker.attempt == "a"
    assert names(tmp_path / "out") == ["rank-0.json", "rank-0.parquet", "rank-5.parquet"]


def test_batches_without_rows_are_refused(model: Any, tmp_path: Path) -> None:
    class Loader(lit.LightningDataModule):
        def predict_dataloader(self) -> Any:
            return DataLoader([model.encode([{"amount": 1.0}])], batch_size=None)

    trainer = lit.Trainer(callbacks=[j2v.Writer(tmp_path / "out")], **QUIET)
    with pytest.raises(Json2VecError, match=r"has no plan.*PolarsDataModule"):
        trainer.predict(model=model, datamodule=Loader(), return_predictions=False)


def test_options_are_checked(tmp_path: Path) -> None:
    for options in ({"segment_rows": 0}, {"flush_every_n_batches": 0}, {"schema": pa.struct([])}):
        with pytest.raises(ValueError):  # noqa: PT011
            j2v.Writer(tmp_path, **options)
    with pytest.raises(TypeError, match="list of column names"):
        j2v.Writer(tmp_path, inputs="id")


def test_the_manifest_holds_the_snapshot(model: Any, tmp_path: Path) -> None:
    predict(model, 5, j2v.Writer(tmp_path / "out"))
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["snapshot"]["files"]["path"] == ["frame:predict"]
    assert manifest["model"] == model.fingerprint()
    assert set(manifest["versions"]) >= {"python", "torch", "pyarrow", "lightning"}
