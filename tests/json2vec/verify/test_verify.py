"""Verification of a whole folder: all findings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import json2vec as j2v


def test_an_intact_folder_passes_all_findings(write: Any) -> None:
    folder = write(ranks=3, segment_rows=20)
    report = folder.verify()
    assert [(one.name, one.passed) for one in report.findings] == [
        (name, True) for name in ("files", "coverage", "inputs", "source", "schema", "values", "replay")
    ], report.summary()
    assert report.passed
    assert report.rows == 136
    assert report.finding("replay").counts == {"replayed": 64, "different": 0}
    assert report.finding("inputs").counts["compared"] == 136
    assert report.finding("source").counts == {
        "files": 4, "counted": 4, "wrong_counts": 0, "compared": 64, "different": 0, "undecided": 0
    }  # fmt: skip
    assert json.loads(json.dumps(report.to_json()))["passed"] is True
    report.raise_if_failed()


def test_every_flipped_byte_fails(write: Any) -> None:
    folder = write(ranks=1)
    file = folder.path / "rank-0.parquet"
    data = file.read_bytes()
    for at in np.linspace(0, len(data) - 1, 12).astype(int):
        flipped = bytearray(data)
        flipped[at] ^= 0x40
        file.write_bytes(flipped)
        finding = folder.verify(model=None).finding("files")
        assert finding.passed is False, at
        assert "rank-0.parquet" in finding.examples[0]


def test_another_model_fails(write: Any) -> None:
    folder = write()
    other = j2v.Model.from_schema(j2v.Number("amount"), j2v.Category("label", max_vocab_size=6, target=True),
                                  d_model=8, n_layers=1, n_heads=2)  # fmt: skip
    report = folder.verify(model=other)
    assert report.finding("replay").passed is False
    assert report.finding("schema").passed is False
    assert "fingerprint" in report.finding("replay").expected


def test_a_checkpoint_path_serves_as_model(write: Any, tmp_path: Path) -> None:
    folder = write()
    assert folder.verify(model=folder.model.save(tmp_path / "model.ckpt")).passed
