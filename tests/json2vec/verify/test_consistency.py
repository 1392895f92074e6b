"""Files that agree with their manifest, and with each other."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

import json2vec as j2v
from json2vec.errors import VerificationFailed


@pytest.mark.parametrize("size", [0, 4, 0.5, -1])
def test_a_truncated_file_fails(write: Any, size: float) -> None:
    folder = write()
    file = folder.path / "rank-1.parquet"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * size) if 0 < size < 1 else int(size)])
    report = folder.verify()
    assert not report.passed
    finding = report.finding("files")
    assert finding.passed is False
    assert "rank 1: rank-1.parquet has" in finding.examples[0]
    assert "expected" in finding.examples[0]


def test_a_deleted_file_names_its_rank(write: Any) -> None:
    folder = write()
    (folder.path / "rank-1.parquet").unlink()
    report = folder.verify()
    assert report.finding("files").examples[0] == "rank 1: rank-1.parquet is missing"
    assert report.finding("coverage").counts["missing"] == 68
    with pytest.raises(VerificationFailed, match=r"rank-1\.parquet is missing") as error:
        report.raise_if_failed()
    assert error.value.report is report


def test_stale_files_are_reported_and_not_read(write: Any) -> None:
    folder = write()
    (folder.path / "rank-7.parquet").write_bytes((folder.path / "rank-0.parquet").read_bytes())
    report = folder.verify()
    assert report.finding("files").examples == ("rank-7.parquet is not in the manifest",)
    assert report.finding("coverage").passed
    assert j2v.read_predictions(folder.path).collect().height == 136


def test_another_schema_in_one_file_fails(write: Any) -> None:
    folder = write()
    folder.edit("rank-1.parquet", lambda table: table.append_column("extra", pa.nulls(table.num_rows, pa.int8())))
    finding = folder.verify().finding("schema")
    assert finding.passed is False
    assert finding.examples[0].startswith("rank-1.parquet: columns")
