"""Retries within a run: what may pass is tried again and adopts what was sealed; what cannot ends the run at once."""

from __future__ import annotations

from pathlib import Path

import conftest as faults  # type: ignore[import-not-found]
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.faults]


def test_a_rank_killed_once_costs_a_retry_of_what_it_had_not_sealed(station) -> None:
    station.write_shards(seed=2, sizes=(300, 213))  # 257 and 256 rows: rank 1 has 8 batches of 32
    station.options |= {
        "postprocessor": "dying:die", "trusted_modules": ["dying"], "segment_rows": 64, "retries": 1,
        "retry_delay_s": 0.0, "require": ("files", "coverage", "inputs", "schema", "replay"),
    }  # fmt: skip
    faults.arm("die 1 7 0 once")
    job = station.definitions().resolve_job_def("faults_predict")
    result = job.execute_in_process(partition_key=faults.PARTITION, instance=station.instance, raise_on_error=False)
    assert result.success
    retried = [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    assert [event.step_key for event in retried] == ["faults__prediction_rank_files"]
    assert "killed by signal 9" in str(retried[0].step_retry_data.error)
    (materialized,) = result.asset_materializations_for_node("faults__prediction_rank_files")
    adopted = materialized.metadata["adopted_rows"].value
    assert adopted == 257 + 192, "all of rank 0, and three segments of rank 1"
    before, failed, committed = station.attempts
    assert not (failed / "_manifest.json").exists()
    assert (committed / "_manifest.json").exists()
    assert failed.name.split("-")[1] == committed.name.split("-")[1], "the same run"
    assert before.name.split("-")[1] != failed.name.split("-")[1]
    assert [row[1] for row in station.table()] == station.expected_ids()


@pytest.mark.parametrize("what", ["a rank that raises", "a bad row", "a refused checkpoint"])
def test_what_another_try_cannot_mend_is_tried_once(station, tmp_path: Path, what: str) -> None:
    station.options |= {"retries": 3, "retry_delay_s": 0.0}
    before, rows = len(station.attempts), station.table()
    if what == "a rank that raises":
        station.options |= {"preprocessor": "injected:hurt"}
        faults.arm("raise on rank 1")
        says = "this rank was told to raise"
    elif what == "a bad row":
        for path in station.shards.iterdir():
            path.unlink()
        (station.shards / "0.ndjson").write_text('{"request_id": "a", "amount": 1.0}\n' * 3 + '{"request_id": \n')
        station.options |= {"suffix": "ndjson", "ranks": 1, "missing_columns": "allow"}
        says = "is not a JSON object"
    else:
        checkpoint = tmp_path / "half.ckpt"
        checkpoint.write_bytes(station.checkpoint.read_bytes()[:1000])
        station.options |= {"checkpoint": str(checkpoint)}
        says = "found a truncated or foreign one (1000 bytes)"
    job = station.definitions().resolve_job_def("faults_predict")
    result = job.execute_in_process(partition_key=faults.PARTITION, instance=station.instance, raise_on_error=False)
    assert not result.success
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert says in failed.step_failure_data.error.to_string()
    assert len(station.attempts) <= before + 1
    assert station.table() == rows
