"""Commits: markers and files that agree with the plan and with each other, once, with the same bytes."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from written_ranks import run, table_of

from json2vec.errors import IncompletePredictions
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.manifest import Manifest, parse_document
from json2vec.reading.plan import Plan
from json2vec.reading.snapshot import snapshot_frame


def test_a_rank_without_rows_says_so(tmp_path: Path) -> None:
    plan = Plan(snapshot_frame(table_of(1)), 2)
    run(tmp_path, plan, 0)
    marker = run(tmp_path, plan, 1)
    assert (marker.rows, marker.files[0].rows) == (0, 0)
    assert pq.read_schema(tmp_path / "rank-1.parquet").equals(pq.read_schema(tmp_path / "rank-0.parquet"))
    assert commit_predictions(tmp_path, plan).rows == 1


def test_committing_twice_gives_the_same_bytes(tmp_path: Path, plan: Plan) -> None:
    for rank in range(2):
        run(tmp_path, plan, rank)
    first = commit_predictions(tmp_path, plan, settings={"device": "cpu"})
    data = (tmp_path / "_manifest.json").read_bytes()
    assert commit_predictions(tmp_path, plan, settings={"device": "cpu"}) == first
    assert (tmp_path / "_manifest.json").read_bytes() == data
    assert parse_document(Manifest, data, "here") == first
    with pytest.raises(IncompletePredictions, match="says something else"):
        commit_predictions(tmp_path, plan, settings={"device": "cuda:0"})
    with pytest.raises(ValueError, match="unknown settings"):
        commit_predictions(tmp_path, plan, settings={"colour": "red"})


def amend(path: Path, **values: Any) -> None:
    document = json.loads(path.read_text())
    document.update(values)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"attempt": "a0"}, "attempt is 'a0', expected 'a1'"),
        ({"plan": "p"}, "plan is 'p'"),
        ({"snapshot": "s"}, "snapshot is 's'"),
        ({"model": "other"}, "model is 'other', expected 'm'"),
        ({"schema": "x"}, "schema is 'x'.*remedy: schema="),
        ({"world_size": 3}, "world_size is 3, expected 2"),
        ({"rows": 10}, "rows is 10, but its files hold 11"),
        ({"files": []}, "lists no file"),
        ({"format": 2}, "format version 2; this version reads markers of format 1"),
        ({"colour": "red"}, "colour: Extra inputs"),
    ],
)
def test_markers_that_disagree_name_their_rank(tmp_path: Path, plan: Plan, values: Any, why: str) -> None:
    for rank in range(2):
        run(tmp_path, plan, rank)
    amend(tmp_path / "rank-1.json", **values)
    with pytest.raises(IncompletePredictions, match=why) as error:
        commit_predictions(tmp_path, plan)
    assert error.value.ranks == (1,)
    assert not (tmp_path / "_manifest.json").exists()


def test_dropped_rows_with_an_adjusted_marker_are_refused(tmp_path: Path, plan: Plan) -> None:
    for rank in range(2):
        run(tmp_path, plan, rank, segment_rows=5)
    marker = json.loads((tmp_path / "rank-0.json").read_text())
    amend(tmp_path / "rank-0.json", files=marker["files"][:-1], rows=10)
    with pytest.raises(IncompletePredictions, match=r"rank 0 accounts for plan rows \[0, 10\), expected \[0, 12\)"):
        commit_predictions(tmp_path, plan)


@pytest.mark.parametrize("fault", ["gone", "short", "footer", "empty"])
def test_files_that_disagree_with_their_marker_are_refused(tmp_path: Path, plan: Plan, fault: str) -> None:
    for rank in range(2):
        run(tmp_path, plan, rank)
    file = tmp_path / "rank-1.parquet"
    if fault == "gone":
        file.unlink()
    elif fault == "footer":
        run(tmp_path / "other", plan, 1, attempt="a2")
        file.write_bytes((tmp_path / "other" / "rank-1.parquet").read_bytes())
    else:
        file.write_bytes(file.read_bytes()[:-1] if fault == "short" else b"")
    why = {"gone": "is missing", "short": "bytes, expected", "footer": "footer says attempt 'a2', expected 'a1'",
           "empty": "has 0 bytes"}[fault]  # fmt: skip
    with pytest.raises(IncompletePredictions, match=rf"rank-1\.parquet: .*{why}|{why}") as error:
        commit_predictions(tmp_path, plan)
    assert error.value.ranks == (1,)


def test_a_late_marker_is_waited_for(tmp_path: Path, plan: Plan) -> None:
    run(tmp_path, plan, 0)
    run(tmp_path, plan, 1, attempt="a0")  # left by an earlier attempt
    with pytest.raises(IncompletePredictions, match="is of attempt 'a0', expected 'a1'"):
        commit_predictions(tmp_path, plan, attempt="a1")

    def late() -> None:
        time.sleep(0.3)
        run(tmp_path, plan, 1)

    thread = threading.Thread(target=late)
    thread.start()
    assert commit_predictions(tmp_path, plan, attempt="a1", wait_s=20).rows == 23
    thread.join()
