"""The demo's days keep the contract of its model, and its weather, which is another every day, does not drift."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from j2v_dagster.demo.model import TrainingSettings, build_model
from j2v_dagster.demo.shards import write_missing
from j2v_dagster.steps.contract import drift_rows
from json2vec import StreamingDataModule
from json2vec.contract import Limits, check_shards
from json2vec.model.checkpoint import load
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.opening import open_store


@pytest.mark.slow
def test_the_days_of_the_demo_keep_the_contract(tmp_path: Path) -> None:
    days = [date(2013, 1, 20) + timedelta(number) for number in range(14)]
    write_missing(tmp_path, days)
    model = build_model(TrainingSettings())
    StreamingDataModule(model, tmp_path, "parquet", train="/dt=2013-01-").setup("fit")
    values = load(model.save(tmp_path / "model.ckpt"))
    for day in days[12:]:
        store = open_store(tmp_path / f"dt={day}")
        outcome = check_shards(values, snapshot_files(store, "parquet"), store)
        assert outcome.of("error", "warning") == [], outcome.text()
        assert [row["leaf"] for row in drift_rows(outcome, Limits()) if row["drifted"]] == []
