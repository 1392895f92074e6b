"""Footers, manifests and names of files: what they tell, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from written_ranks import run

import json2vec as j2v
from json2vec.errors import IncompletePredictions
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.manifest import (
    FOOTER_KEY,
    Footer,
    SealedFile,
    merge_spans,
    parse_document,
    parse_name,
)
from json2vec.reading.plan import Plan


def test_the_footer_tells_what_the_folder_should_hold(tmp_path: Path, plan: Plan) -> None:
    marker = run(tmp_path, plan)
    data = pq.read_metadata(tmp_path / "rank-0.parquet").metadata[FOOTER_KEY]
    assert json.loads(data) == {
        "format": 1, "attempt": "a1", "rank": 0, "segment": 0, "world_size": 2, "rows": 12, "plan": plan.digest,
        "snapshot": plan.snapshot.digest, "model": "m", "schema": marker.schema_digest, "row_hash": "j2v-rowhash-1",
    }  # fmt: skip
    assert parse_document(Footer, data, "here").dumps() == data


def test_a_manifest_of_another_format_or_cut_short_is_refused(tmp_path: Path, plan: Plan) -> None:
    for rank in range(2):
        run(tmp_path, plan, rank)
    commit_predictions(tmp_path, plan)
    data = (tmp_path / "_manifest.json").read_text()
    (tmp_path / "_manifest.json").write_text(data[:-9])
    with pytest.raises(IncompletePredictions, match="may be cut short"):
        j2v.read_predictions(tmp_path)
    (tmp_path / "_manifest.json").write_text(data.replace('"format":1', '"format":7'))
    with pytest.raises(IncompletePredictions, match="format version 7; this version reads manifests of format 1"):
        j2v.read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rank-0.parquet", ("rows", 0, False)),
        ("rank-12.3.parquet.tmp", ("rows", 12, True)),
        ("rejected-4.parquet", ("rejected", 4, False)),
        ("rank-2.json", ("marker", 2, False)),
        (".rank-2.json.0a1b2c3d.tmp", ("marker", 2, True)),
        ("rank-2.error.json", ("error", 2, False)),
        ("ranks-2.parquet", None),
        ("rank-x.parquet", None),
        ("_manifest.json", None),
    ],
)
def test_names(name: str, expected: Any) -> None:
    assert parse_name(name) == expected


def test_spans_merge_and_must_not_overlap() -> None:
    assert merge_spans([(5, 9), (0, 5), (3, 3), (12, 13)]) == ((0, 9), (12, 13))
    with pytest.raises(IncompletePredictions, match=r"\[4, 5\) are accounted for twice"):
        merge_spans([(0, 5), (4, 9)])


def test_keys_that_say_nothing_are_not_written() -> None:
    file = SealedFile(path="x", rows=1, bytes=1, sha256="", segment=0, spans=((0, 1),), attempt="a")
    assert "reused" not in json.loads(file.dumps())
    assert SealedFile.model_validate_json(file.dumps()) == file
