"""Folders without a usable manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

import json2vec as j2v


def test_an_uncommitted_folder_fails(write: Any) -> None:
    report = write(commit=False).verify()
    assert report.finding("files").passed is False
    assert "rank-0.parquet (attempt attempt-1, rank 0 of 2)" in report.finding("files").examples
    assert not report.passed


def test_a_missing_folder_fails(tmp_path: Path) -> None:
    assert j2v.verify_predictions(tmp_path / "none").finding("files").passed is False


def test_a_folder_of_another_writer_is_neither_proven_nor_refuted(tmp_path: Path) -> None:
    frame = pl.DataFrame({"prediction": [0.5, 0.25, 0.125]})
    (tmp_path / "other").mkdir()
    frame.write_parquet(tmp_path / "other" / "rank-0.parquet")
    report = j2v.verify_predictions(tmp_path / "other", inputs=frame)
    assert {one.passed for one in report.findings} == {None}
    assert not report.passed
    report = j2v.verify_predictions(tmp_path / "other", inputs=frame.head(2))
    assert report.finding("coverage").passed is False
    assert report.finding("coverage").counts == {"input_rows": 2, "rows": 3}
