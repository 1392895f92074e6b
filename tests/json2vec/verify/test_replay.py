"""Rows are predicted again: which ones, and what that finds."""

from __future__ import annotations

from typing import Any

import numpy as np

from json2vec.verify import replay
from json2vec.verify.replay import sample_positions
from json2vec.verify.tolerance import tolerance_of


def test_the_sample_is_drawn_by_the_attempt() -> None:
    assert sample_positions(1000, 64, "a").tolist() == sample_positions(1000, 64, "a").tolist()
    assert sample_positions(1000, 64, "a").tolist() != sample_positions(1000, 64, "b").tolist()
    assert len(np.unique(sample_positions(1000, 64, "a"))) == 64
    assert sample_positions(5, 64, "a").tolist() == sample_positions(5, None, "a").tolist() == [0, 1, 2, 3, 4]
    assert tolerance_of("32-true", "cpu") == 1e-5
    assert tolerance_of("bf16-mixed", "cuda:0") > tolerance_of("16-mixed", "cuda:0") > tolerance_of("32-true", "cuda:0")


def test_replaying_every_row(write: Any) -> None:
    assert write().verify(sample=None).finding("replay").counts == {"replayed": 136, "different": 0}


def test_swapped_predictions_fail_replay_alone(write: Any, swap: Any) -> None:
    folder = write()
    folder.edit("rank-0.parquet", swap)
    report = folder.verify(sample=None)
    assert {one.name: one.passed for one in report.findings} == {
        "files": True, "coverage": True, "inputs": True, "source": True, "schema": True, "values": True,
        "replay": False,
    }  # fmt: skip
    finding = report.finding("replay")
    assert finding.counts["different"] == 2
    assert finding.examples == ("a.parquet row 0", "a.parquet row 1")


def test_a_sample_is_read_file_by_file_and_no_other_row_is_predicted(write: Any, monkeypatch: Any) -> None:
    folder, ranges, predicted = write(), [], []
    read, infer = replay.read_rows, folder.model.infer

    def spy(snapshot: Any, source: Any, wanted: Any, **options: Any) -> Any:
        ranges.extend(wanted)
        return read(snapshot, source, wanted, **options)

    monkeypatch.setattr(replay, "read_rows", spy)
    monkeypatch.setattr(folder.model, "infer", lambda batch, *rest: predicted.append(batch.size) or infer(batch, *rest))
    report = folder.verify(sample=20)
    assert report.finding("replay").counts == {"replayed": 20, "different": 0}
    assert sum(predicted) == 20
    starts = folder.plan.snapshot.starts
    assert len(ranges) == 3, "one for each file with rows"
    assert all(np.searchsorted(starts, start, "right") == np.searchsorted(starts, stop - 1, "right")
               for start, stop in ranges)  # fmt: skip
