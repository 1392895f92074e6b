"""Resuming at sealed segments: what is adopted, what is not, and that the whole is what one clean attempt gives."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from dying_attempts import ROWS, Partition
from hypothesis import given
from hypothesis import strategies as st

import json2vec as j2v
from json2vec.errors import IncompletePredictions
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.journal import read_adopted, read_segments
from json2vec.rank_files.manifest import SealedFile, Segment, merge_spans
from json2vec.rank_files.resume import FoundSegment, choose_segments, remaining
from json2vec.reading.row_hash import ROW_HASH
from json2vec.storage.local import LocalStore


def drop_every_ninth(row: dict) -> dict | None:
    return None if row["id"].endswith("9") else row


def same(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Equal inputs and sources; predictions equal but for the float rounding that other batches bring."""
    if not left.drop("predictions").equals(right.drop("predictions")):
        return False
    label = pl.col("predictions").struct.field("record/label").struct.field("content")
    score = pl.col("predictions").struct.field("record/score").struct.field("content")
    values = [frame.select(label.struct.field("probability"), score).to_numpy() for frame in (left, right)]
    labels = [frame.select(label.struct.field("value")) for frame in (left, right)]
    return labels[0].equals(labels[1]) and np.allclose(*values, atol=1e-5)


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_the_rest_is_predicted_and_the_whole_equals_a_clean_run(partition: Partition, ranks: int) -> None:
    partition.predict("a1", 3, dies={1: 4})  # rank 1 of 3 wrote 4 batches of 8 rows and sealed 2 segments of 16
    found = partition.resume("a2", ["a1"])
    plan = partition.predict("a2", ranks, intervals=found.intervals)
    lost = 45 - 32  # rank 1's share but for its sealed segments
    assert (found.adopted_rows, plan.rows) == (ROWS - lost, lost)
    manifest = commit_predictions(partition.root / "a2", plan, adopted=found.adopted)
    assert (manifest.rows, manifest.input_rows) == (ROWS, ROWS)
    assert {file.attempt for file in manifest.files} == {"a1", "a2"}
    assert list(manifest.files) == sorted(manifest.files, key=lambda file: file.spans or ((ROWS, 0),))
    report = j2v.verify_predictions(partition.root / "a2", model=partition.model, sample=None)
    assert report.passed, report.summary()
    commit_predictions(partition.root / "clean", partition.predict("clean", 2))
    assert same(partition.table("a2"), partition.table("clean"))


def test_attempts_that_die_one_after_the_other(partition: Partition) -> None:
    partition.predict("a1", 2, dies={0: 2, 1: 3})
    second = partition.resume("a2", ["a1"])
    partition.predict("a2", 3, intervals=second.intervals, dies={0: 2, 1: 2, 2: 2})
    # The third has lost sight of the first, whose files the second holds under names of its own.
    third = partition.resume("a3", ["a2"])
    assert third.adopted_rows > second.adopted_rows > 0
    assert {segment.attempt for segment in third.adopted} == {"a1", "a2"}
    plan = partition.predict("a3", 1, intervals=third.intervals)
    both = partition.resume("a4", ["a2", "a1"])
    assert both.intervals == third.intervals, "a segment that is found twice counts once"
    manifest = commit_predictions(partition.root / "a3", plan, adopted=read_adopted(LocalStore(partition.root / "a3")))
    report = j2v.verify_predictions(partition.root / "a3", model=partition.model)
    assert report.passed, report.summary()
    assert manifest.rows == ROWS


def test_a_whole_attempt_that_was_not_committed_leaves_nothing_to_predict(partition: Partition) -> None:
    partition.predict("a1", 2)
    found = partition.resume("a2", ["a1"])
    assert found.intervals == ()
    plan = partition.predict("a2", 2, intervals=found.intervals)
    assert commit_predictions(partition.root / "a2", plan, adopted=found.adopted).rows == ROWS
    report = j2v.verify_predictions(partition.root / "a2", model=partition.model)
    assert report.passed, report.summary()


def test_rejected_rows_come_along(partition: Partition) -> None:
    partition.predict("a1", 2, dies={1: 6}, preprocessor=drop_every_ninth)
    sealed = list(read_segments(LocalStore(partition.root / "a1")))
    assert sum(one.rejected.rows for one in sealed if one.rejected) > 5
    assert {one.quarantined for one in sealed} == {0}, "dropped on purpose is not quarantined"
    found = partition.resume("a2", ["a1"], quarantine=False)
    plan = partition.predict("a2", 3, intervals=found.intervals, preprocessor=drop_every_ninth)
    manifest = commit_predictions(partition.root / "a2", plan, adopted=found.adopted, max_rejected=0)
    assert manifest.input_rows == ROWS
    assert manifest.rows + manifest.rejected_rows == ROWS
    assert {file.attempt for file in manifest.rejected} == {"a1", "a2"}
    report = j2v.verify_predictions(
        partition.root / "a2", model=partition.model, preprocessor=drop_every_ninth,
        require=("files", "coverage", "replay"),
    )  # fmt: skip
    assert report.passed, report.summary()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"), "not adopted.*(SHA-256|no readable Parquet)"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, expected"),
        (lambda path: path.unlink(), "No such file"),
    ],
    ids=["flipped", "short", "gone"],
)
def test_a_damaged_segment_is_predicted_again(partition: Partition, change: Callable[[Path], Any], why: str) -> None:
    partition.predict("a1", 2)
    change(partition.root / "a1" / "rank-1.0.parquet")
    found = partition.resume("a2", ["a1"])
    (refused,) = found.refused
    assert "rank-1.0.parquet" in refused
    assert re.search(why, refused), refused
    assert found.intervals == ((68, 84),)
    assert sorted(path.name for path in (partition.root / "a2").glob("*.parquet")) == sorted(
        segment.file.path for segment in found.adopted
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"settings": "other"}, "other settings"),
        ({"snapshot": "other"}, "another snapshot"),
    ],
)
def test_other_settings_or_inputs_adopt_nothing(partition: Partition, options: Any, why: str) -> None:
    partition.predict("a1", 2)
    found = partition.resume("a2", ["a1"], **options)
    assert found.intervals == ((0, ROWS),)
    assert why in " ".join(found.refused)
    assert not list((partition.root / "a2").iterdir())


def test_files_are_copied_where_the_disk_cannot_link(partition: Partition, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    partition.predict("a1", 2)
    linked = partition.resume("linked", ["a1"])
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuse)
        # The list of adopted segments is written by rename, so only the segments' files are linked.
        copied = partition.resume("copied", ["a1"])
    assert copied.adopted == linked.adopted
    for name, links in (("linked", 2), ("copied", 1)):
        first = partition.root / name / "adopted-0.parquet"
        assert first.read_bytes() == (partition.root / "a1" / "rank-0.0.parquet").read_bytes()
        assert first.stat().st_nlink == links
    assert not list((partition.root / "copied").glob("*.tmp"))


def test_a_commit_refuses_adopted_segments_that_do_not_fill_the_plan(partition: Partition) -> None:
    partition.predict("a1", 2, dies={1: 4})
    found = partition.resume("a2", ["a1"])
    plan = partition.predict("a2", 2, intervals=found.intervals)
    folder = partition.root / "a2"
    with pytest.raises(IncompletePredictions, match=r"adopted segments: .*account for rows.*expected \[0, 136\)"):
        commit_predictions(folder, plan, adopted=found.adopted[1:])
    with pytest.raises(IncompletePredictions, match=r"adopted segments: .*expected \[0, 136\)"):
        commit_predictions(folder, plan)
    with pytest.raises(IncompletePredictions, match="accounted for twice"):
        commit_predictions(folder, plan, adopted=[*found.adopted, found.adopted[0]])
    other = found.adopted[0].model_copy(update={"model": "m"})
    with pytest.raises(IncompletePredictions, match=r"model is 'm'.*resume=False"):
        commit_predictions(folder, plan, adopted=[other, *found.adopted[1:]])
    (folder / found.adopted[0].file.path).unlink()
    with pytest.raises(IncompletePredictions, match=r"adopted-0\.parquet is missing"):
        commit_predictions(folder, plan, adopted=found.adopted)
    assert not (folder / "_manifest.json").exists()


def segment(spans: list[tuple[int, int]], *, quarantined: int = 0, **digests: str) -> Segment:
    file = SealedFile(path="x", rows=1, bytes=1, sha256="", segment=0, spans=tuple(spans), attempt="a")
    values: dict[str, Any] = {"snapshot": "p", "model": "m", "schema": "c", "settings": "s", "row_hash": ROW_HASH}
    return Segment(attempt="a", rank=0, world_size=1, plan="", file=file, rejected=None, quarantined=quarantined,
                   **(values | digests))  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 15)), max_size=25))
def test_any_segments_give_disjoint_spans_and_exactly_the_rest(given_spans: list[tuple[int, int]]) -> None:
    total = 80
    found = [FoundSegment(Path("f"), segment([(start, start + n)])) for start, n in given_spans]
    chosen, _ = choose_segments(found, snapshot="p", settings="s")
    spans = [span for one in chosen for span in one.segment.file.spans]
    left = remaining(total, spans)
    assert merge_spans([*spans, *left]) == ((0, total),)  # raises where two overlap
    assert spans == sorted(spans)
    for start, n in given_spans:  # greedy, but a segment that fits is never left out
        assert any(a < start + n and start < b for a, b in spans)


def test_segments_of_two_models_are_never_mixed_and_quarantined_ones_wait_to_be_asked_for() -> None:
    segments = [segment([(0, 5)]), segment([(5, 9)], model="other"), segment([(9, 12)], row_hash="old"),
                segment([(12, 20)], quarantined=1)]  # fmt: skip
    found = [FoundSegment(Path("f"), one) for one in segments]
    chosen, others = choose_segments(found, snapshot="p", settings="s", quarantine=False)
    assert [one.segment.file.spans for one in chosen] == [((0, 5),)]
    assert others == {"is of another model or schema": 1, "has other row hashes": 1, "has quarantined rows": 1}
    chosen, _ = choose_segments(found, snapshot="p", settings="s")
    assert [one.segment.file.spans for one in chosen] == [((0, 5),), ((12, 20),)]
