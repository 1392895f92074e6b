"""A rank that dies late costs its last segment, not the partition: the next run adopts what was sealed."""

from __future__ import annotations

import json
from pathlib import Path

import conftest as faults  # type: ignore[import-not-found]
import numpy as np
import polars as pl
import pytest

import json2vec as j2v

pytestmark = [pytest.mark.slow, pytest.mark.faults]

PREDICT = ("input_shards", "model_checkpoint", "prediction_rank_files")
SIZES = (300, 500, 0, 13)  # 813 rows, 271 for each of 3 ranks: 8 batches of 32 and one of 15
SEGMENT_ROWS = 64


@pytest.fixture
def dying(station):
    """The station with ranks that can be told to die, small segments, and checks that a postprocessor allows."""
    station.write_shards(seed=2, sizes=SIZES)
    station.options |= {
        "postprocessor": "dying:die",
        "trusted_modules": ["dying"],
        "segment_rows": SEGMENT_ROWS,
        "ranks": 3,
        "require": ("files", "coverage", "inputs", "schema", "replay"),
    }
    return station


def predicted_rows(attempt: Path) -> int:
    """Input rows that the ranks of this attempt predicted themselves."""
    return sum(json.loads(path.read_bytes())["input_rows"] for path in attempt.glob("rank-?.json"))


def sorted_rows(attempt: Path) -> pl.DataFrame:
    keys = [pl.col("source").struct.field(name) for name in ("file", "row", "part")]
    return j2v.read_predictions(attempt).collect().sort(keys)


def assert_same(left: pl.DataFrame, right: pl.DataFrame) -> None:
    """Equal rows; predictions equal but for the rounding that other batches bring."""
    assert left.drop("predictions").equals(right.drop("predictions"))
    label = pl.col("predictions").struct.field("record/label").struct.field("content")
    vector = pl.col("predictions").struct.field("record").struct.field("embedding")
    assert left.select(label.struct.field("value")).equals(right.select(label.struct.field("value")))
    for column in (label.struct.field("probability"), vector.explode()):
        np.testing.assert_allclose(left.select(column).to_numpy(), right.select(column).to_numpy(), atol=1e-5)


@pytest.mark.parametrize("ranks", [1, 3, 5])
def test_01_after_a_death_at_the_end_only_the_last_segment_is_predicted_again(dying, ranks) -> None:
    before = dying.table()
    faults.arm("die 1 8 0,2")
    died = dying.run()
    assert "rank 1 was killed by signal 9" in died.errors
    assert dying.table() == before, "the warehouse must still show the old rows"
    faults.disarm()
    again = dying.run(ranks=ranks)
    assert again.success, again.errors
    assert [row[1] for row in dying.table()] == dying.expected_ids()
    # Rank 1 lost the 15 rows of its open segment; the ranks that had ended lost nothing.
    assert predicted_rows(dying.attempts[-1]) == 15
    adopted = json.loads((dying.attempts[-1] / "_adopted.json").read_bytes())["segments"]
    assert {one["attempt"] for one in adopted} == {dying.attempts[-2].name}
    clean = dying.run(only=PREDICT, resume=False)
    assert clean.success, clean.errors
    assert predicted_rows(dying.attempts[-1]) == sum(SIZES)
    assert_same(sorted_rows(dying.attempts[-2]), sorted_rows(dying.attempts[-1]))


def test_01_deaths_one_after_the_other_get_to_the_end(dying) -> None:
    faults.arm("die 1 5 0,2")
    assert not dying.run(only=PREDICT).success
    faults.arm("die 0 1 1")
    assert not dying.run(only=PREDICT, ranks=2, segment_rows=16).success
    faults.disarm()
    last = dying.run(ranks=1)
    assert last.success, last.errors
    assert [row[1] for row in dying.table()] == dying.expected_ids()
    # 271 rows of rank 1 but for its 2 sealed segments, 128 rows; of the other 143 rows rank 0 of 2 had sealed a batch
    # (32 of its 72), and rank 1 of 2 all of its 71.
    assert predicted_rows(dying.attempts[-1]) == 271 - 128 - 32 - 71


def test_07_a_sealed_segment_that_changed_is_predicted_again(dying) -> None:
    faults.arm("die 1 8 0,2")
    assert not dying.run(only=PREDICT).success
    faults.disarm()
    victim = dying.attempts[-1] / "rank-0.1.parquet"
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))
    again = dying.run()
    assert again.success, again.errors
    assert [row[1] for row in dying.table()] == dying.expected_ids()
    assert predicted_rows(dying.attempts[-1]) == 15 + SEGMENT_ROWS


def test_nothing_is_adopted_after_the_input_the_settings_or_the_code_changed(dying, tmp_path, monkeypatch) -> None:
    faults.arm("die 1 8 0,2")
    assert not dying.run(only=PREDICT).success
    faults.disarm()
    died = dying.attempts[-1]
    changed = dying.run(only=PREDICT, reconstruct=["merchant"])
    assert changed.success, changed.errors
    assert predicted_rows(dying.attempts[-1]) == sum(SIZES)
    # What a committed attempt leaves behind it is not looked at again.
    again = dying.run(only=PREDICT)
    assert again.success, again.errors
    assert predicted_rows(dying.attempts[-1]) == sum(SIZES)
    assert died.exists()


def test_an_attempt_that_its_checks_refused_is_not_adopted(dying) -> None:
    first = dying.run(only=PREDICT)
    assert first.success, first.errors
    (dying.attempts[-1] / "rank-0.0.parquet").unlink()
    assert not dying.run(only=("predictions",)).success
    again = dying.run()
    assert again.success, again.errors
    assert predicted_rows(dying.attempts[-1]) == sum(SIZES)


class DeadBeforeCommit:
    """A launcher whose ranks end well, and whose run then dies before it commits."""

    def __init__(self, launcher) -> None:
        self._launcher = launcher

    def submit(self, job_path: str, *, ranks: int, log_folder: str) -> str:
        return self._launcher.submit(job_path, ranks=ranks, log_folder=log_folder)

    def status(self, handle: str):
        status = self._launcher.status(handle)
        if status.state == "succeeded":
            raise SystemError("the run died here")
        return status

    def logs(self, handle: str, *, since: dict[int, int]):
        return self._launcher.logs(handle, since=since)

    def cancel(self, handle: str) -> None:
        self._launcher.cancel(handle)


def test_03_an_attempt_that_was_whole_but_not_committed_is_adopted_as_it_is(dying) -> None:
    failed = dying.run(only=PREDICT, launcher=DeadBeforeCommit(dying.launcher))
    assert "the run died here" in failed.errors
    again = dying.run(ranks=2)
    assert again.success, again.errors
    assert predicted_rows(dying.attempts[-1]) == 0
    assert [row[1] for row in dying.table()] == dying.expected_ids()
