"""Fault 27, through the whole pipeline: poison records are quarantined and counted, or fail the run."""

from __future__ import annotations

import json

import conftest as faults  # type: ignore[import-not-found]
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.faults]

POISON = {5: '{"request_id": "cut', 100: "[1, 2]", 171: None}  # line: its text; None is an amount that is no number


@pytest.fixture
def poisoned(station):
    """NDJSON shards of 250 rows, three of them poison."""
    for old in station.shards.iterdir():
        old.unlink()
    rows = faults.records(9, 250).to_dicts()
    for row in rows:
        row["amount"] = None if row["amount"] is None else str(row["amount"])
    rows[171]["amount"] = "much"
    lines = [POISON.get(number) or json.dumps(row) for number, row in enumerate(rows)]
    (station.shards / "a.ndjson").write_text("\n".join(lines[:120]) + "\n")
    (station.shards / "b.ndjson").write_text("\n".join(lines[120:]) + "\n")
    station.options |= {"suffix": "ndjson", "on_bad_row": "quarantine", "max_rejected": 3}
    station.good = [row["request_id"] for number, row in enumerate(rows) if number not in POISON]
    return station


def test_27_poison_rows_are_quarantined_and_warned_of(poisoned) -> None:
    outcome = poisoned.run()
    assert outcome.success, outcome.errors
    assert sorted(row[1] for row in poisoned.table()) == sorted(poisoned.good)
    warning = outcome.checks["rejected_rows"]
    assert not warning.passed
    assert warning.severity.value == "WARN"
    assert "3 of 250 input rows quarantined, 0 dropped" in (warning.description or "")
    assert "a.ndjson, row 5" in (warning.description or "")
    assert outcome.failed_checks().keys() == {"rejected_rows"}
    key = faults.dg.AssetKey(["faults", "prediction_rank_files"])
    event = poisoned.instance.get_latest_materialization_event(key)
    assert event.asset_materialization.metadata["rejected_rows"].value == 3


def test_27_one_more_than_max_rejected_fails_the_run_and_raising_it_resumes(poisoned) -> None:
    before = poisoned.table()
    outcome = poisoned.run(max_rejected=2, ranks=1)
    assert not outcome.success
    assert "of 250 input rows were quarantined" in outcome.errors
    assert "max_rejected=2" in outcome.errors
    assert not (poisoned.attempts[-1] / "_manifest.json").exists()
    assert poisoned.table() == before
    raised = poisoned.run(on_bad_row="raise")
    assert not raised.success
    # Two ranks read at once; the first to meet a poison row fails the run.
    assert "a.ndjson: row 5" in raised.errors or "b.ndjson, row 51" in raised.errors
    again = poisoned.run()
    assert again.success, again.errors
    assert sorted(row[1] for row in poisoned.table()) == sorted(poisoned.good)
