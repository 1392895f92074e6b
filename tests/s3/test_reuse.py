"""An attempt in a bucket whose predictions the next one takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import json2vec as j2v
from json2vec.predict.job import PredictJob, plan_job
from json2vec.predict.worker import run_job
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.manifest import Manifest
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore, file_sha256
from json2vec.storage.opening import open_store

pytestmark = pytest.mark.slow


def test_unchanged_rows_take_predictions_from_a_bucket(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket, options = s3.bucket("reuse"), s3.options()
    model = j2v.Model.from_schema(j2v.Number("x"), j2v.Number("y", target=True), d_model=8, n_layers=1, n_heads=2)
    checkpoint = model.save(tmp_path / "model.ckpt")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    inputs = tmp_path / "in"
    inputs.mkdir()

    def predict(attempt: str, values: np.ndarray, reuse: str | None = None) -> Manifest:
        pl.DataFrame({"x": values}).write_parquet(inputs / "a.parquet")
        snapshot = snapshot_files(LocalStore(inputs), "parquet")
        output = f"{bucket}/out ü/{attempt}"
        job = PredictJob(
            attempt=attempt, checkpoint=str(checkpoint), checkpoint_sha256=file_sha256(checkpoint), output=output,
            snapshot=snapshot.to_json(), intervals=[(0, snapshot.rows)], world_size=1, storage_options=options,
            batch_size=16, segment_rows=20, scratch=str(tmp_path / "scratch"),
            reuse=None if reuse is None else f"{bucket}/out ü/{reuse}",
        )  # fmt: skip
        run_job(job)
        return commit_predictions(output, plan_job(job), settings=job.recorded(), storage_options=options)

    values = np.arange(50) / 7
    predict("a1", values)
    values[[3, 30]] = 100.0
    manifest = predict("a2", values, "a1")
    assert (manifest.rows, manifest.reused_rows) == (50, 48)
    report = j2v.verify_predictions(
        f"{bucket}/out ü/a2", inputs=inputs, model=checkpoint, sample=None, storage_options=options
    )
    assert report.passed, report.summary()

    lost = next(file for file in manifest.files if file.spans[0][0] == 0)
    open_store(f"{bucket}/out ü/a2", options).delete(lost.path)
    capsys.readouterr()
    assert predict("a3", values, "a2").reused_rows == 50 - lost.rows
    assert f"{lost.path} is not reused, its {lost.rows} rows are predicted again: is missing" in capsys.readouterr().out
    assert predict("a4", values, "nowhere").reused_rows == 0
    assert "no stored prediction is reused, every row is predicted" in capsys.readouterr().out
