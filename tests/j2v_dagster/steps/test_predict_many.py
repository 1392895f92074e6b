"""Of partitions that are predicted together, what fails of one spares the others."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest
from four_days import DAYS, Case, Counting, errors

from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.steps import predict_many

pytestmark = pytest.mark.slow


def test_one_bad_partition_fails_alone(case: Case) -> None:
    assert case.run().success
    before = case.table()
    case.write("d2", rows=3, bad=True)  # ranks refuse its values
    (case.root / "shards" / "dt=d3" / "a.parquet").write_bytes(b"no parquet")  # its snapshot cannot be taken
    case.write("d4", rows=20)
    failed = case.run(retries=2, retry_delay_s=0.0)  # in vain: bad rows stay bad, so that no try is wasted on them
    message = errors(failed)
    assert not failed.success
    assert "2 of 4 partitions failed; the other 2 are done" in message
    assert "d2: prediction_rank_files: " in message
    assert "EncodeError" in message
    assert "a.parquet" in message
    assert "d3: input_shards: ReadError: " in message
    assert case.launcher.starts == 2
    assert case.table() == before | {"d4": 20}
    status = case.instance.get_status_by_partition(
        dg.AssetKey(["shop", "predictions"]), DAYS, dg.StaticPartitionsDefinition(DAYS)
    )
    assert {day: str(one.value) for day, one in (status or {}).items() if one} == {
        "d1": "MATERIALIZED", "d2": "FAILED", "d3": "FAILED", "d4": "MATERIALIZED"
    }  # fmt: skip
    # Mended, the two are repaired by themselves.
    case.write("d2", rows=4)
    case.write("d3", rows=6)
    again = case.run(first="d2", last="d3")
    assert again.success, errors(again)
    assert case.table() == {"d1": 5, "d2": 4, "d3": 6, "d4": 20}


def test_an_unforeseen_error_of_one_commit_spares_the_others(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(prepared: Any) -> Any:
        if "dt=d2" in str(prepared.attempt.path):
            raise ValueError("nobody thought of this")
        return whole(prepared)

    whole = predict_many.commit
    monkeypatch.setattr(predict_many, "commit", commit)
    done = case.run()
    assert not done.success
    assert "1 of 4 partitions failed" in errors(done)
    assert "d2: prediction_rank_files: ValueError: nobody thought of this" in errors(done)
    assert case.table() == {"d1": 5, "d3": 11, "d4": 14}


def test_a_killed_rank_costs_only_what_was_not_whole(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("J2V_FAULT", str(case.root / "armed"))
    monkeypatch.setenv("J2V_KILL_AFTER", f"{case.root}/out/dt=d[12]/attempts/*/rank-0.json")
    (case.root / "armed").write_text("kill rank 1")
    # Rank 1 dies in its third batch: of d3, whose share is 5 or 6 rows in batches of 4.
    options = {"preprocessor": "injected:hurt", "trusted_modules": ["injected"]}
    died = case.run(**options)
    assert not died.success
    assert "signal 9" in errors(died)
    done = case.materialized("prediction_rank_files")
    assert done, "what was whole before the rank died counts"
    assert done < set(DAYS)
    assert set(case.table()) == done
    (case.root / "armed").unlink()
    again = case.run(**options)
    assert again.success, errors(again)
    assert case.table() == {"d1": 5, "d2": 8, "d3": 11, "d4": 14}


def test_a_run_that_is_ended_leaves_what_it_committed_to_the_next(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended while rank 1 hangs in d3: d1 and d2 are committed, and nothing has been checked yet."""
    monkeypatch.setenv("J2V_FAULT", str(case.root / "armed"))
    (case.root / "armed").write_text("hang on rank 1")
    options = {"preprocessor": "injected:hurt", "trusted_modules": ["injected"]}

    class Ended(Counting):
        def status(self, handle: str) -> Any:
            if len(list(case.root.glob("out/dt=*/attempts/*/_manifest.json"))) == 2:
                raise KeyboardInterrupt("the run is terminated")
            return self.inner.status(handle)

    case.launcher = Ended()
    assert not case.run(**options).success
    assert case.materialized("predictions") == set()
    (case.root / "armed").unlink()
    case.launcher = Counting()
    again = case.run(**options)
    assert again.success, errors(again)
    assert case.table() == {"d1": 5, "d2": 8, "d3": 11, "d4": 14}
    predicted = {}
    for day in DAYS:
        attempt = PartitionOutput.of(case.root / "out", day, "dt={partition}").attempts()[-1]
        predicted[day] = sum(json.loads(attempt.store.read(f"rank-{rank}.json"))["input_rows"] for rank in (0, 1))
    assert predicted["d1"] == predicted["d2"] == 0
    assert predicted["d4"] > 0


def test_a_retry_works_on_what_is_left(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 1 dies in the third partition that it reads, in every try: of d3 in the first; the second has two left."""
    monkeypatch.setenv("J2V_FAULT", str(case.root / "armed"))
    monkeypatch.setenv("J2V_KILL_AFTER", f"{case.root}/out/dt=d[12]/attempts/*/rank-0.json")
    (case.root / "armed").write_text("kill rank 1")
    done = case.run(preprocessor="injected:hurt", trusted_modules=["injected"], retries=2, retry_delay_s=0.0)
    assert done.success, errors(done)
    assert case.launcher.starts == 2
    assert case.table() == {"d1": 5, "d2": 8, "d3": 11, "d4": 14}
    attempts = {day: PartitionOutput.of(case.root / "out", day, "dt={partition}").attempts() for day in DAYS}
    assert {day: len(found) for day, found in attempts.items()} == {"d1": 1, "d2": 1, "d3": 2, "d4": 2}
