"""Reading takes exactly the files of the manifest, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_ranks import run

import json2vec as j2v
from json2vec.errors import IncompletePredictions
from json2vec.rank_files.commit import commit_predictions
from json2vec.reading.plan import Plan


def test_reading_takes_exactly_the_manifests_files(tmp_path: Path, plan: Plan) -> None:
    with pytest.raises(IncompletePredictions, match=r"holds no _manifest\.json"):
        j2v.read_predictions(tmp_path)
    for rank in range(2):
        run(tmp_path, plan, rank, segment_rows=5)
    commit_predictions(tmp_path, plan)
    run(tmp_path / "more", Plan(plan.snapshot, 3), 2)
    (tmp_path / "more" / "rank-2.parquet").rename(tmp_path / "rank-2.parquet")
    found = j2v.read_predictions(tmp_path).collect()
    assert found["inputs"].struct.field("id").to_list() == list(range(23))
    with pytest.raises(IncompletePredictions, match=r"rank 1 of 2 .*read_predictions\(") as error:
        j2v.read_predictions(tmp_path / "rank-1.0.parquet")
    assert error.value.ranks == (1,)
    (tmp_path / "rank-1.0.parquet").unlink()
    with pytest.raises(IncompletePredictions, match=r"rank 1: rank-1\.0\.parquet is missing \(5 rows\)") as error:
        j2v.read_predictions(tmp_path)
    assert error.value.ranks == (1,)
