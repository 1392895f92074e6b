"""Shards that break the contract start no rank, and leave the table as it was; drift only warns."""

from __future__ import annotations

import conftest as faults  # type: ignore[import-not-found]
import polars as pl
import pytest

import json2vec as j2v
from j2v_dagster.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture
def known(station, tmp_path):
    """The station, with a checkpoint that knows what it was trained on."""
    folder = tmp_path / "train"
    folder.mkdir()
    faults.records(77, 2000).write_parquet(folder / "a.parquet")
    path = tmp_path / "known.ckpt"
    path.write_bytes(station.checkpoint.read_bytes())
    assert main(["profile", str(path), "--inputs", str(folder)]) == 0
    assert j2v.Model.load(path).fingerprint() == j2v.Model.load(station.checkpoint).fingerprint()
    station.checkpoint = path
    return station


def rewrite(station, change) -> None:
    for path in station.shards.iterdir():
        change(pl.read_parquet(path)).write_parquet(path)


def metadata(station) -> dict:
    event = station.instance.get_latest_materialization_event(faults.dg.AssetKey(["faults", "prediction_rank_files"]))
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_a_kept_contract_is_shown_and_drift_is_measured(known) -> None:
    outcome = known.run()
    assert outcome.success, outcome.errors
    assert not outcome.failed_checks()
    assert [row[1] for row in known.table()] == known.expected_ids()
    found = metadata(known)
    assert (found["contract_errors"], found["contract_warnings"]) == (0, 0)
    drift = outcome.checks["input_drift"]
    assert drift.severity.value == "WARN"
    values = {name: value.value for name, value in drift.metadata.items()}
    assert values["sampled_rows"] == 247
    assert 0 <= values["psi record/amount"] <= values["max_psi"] < 0.25
    leaves = {record.data["leaf"] for record in values["drift"].records}
    assert leaves == {"record/amount", "record/merchant", "record/items/price", "record/items/sku"}


def test_a_broken_contract_starts_no_rank(known) -> None:
    before, attempts = known.table(), len(known.attempts)
    rewrite(known, lambda frame: frame.rename({"amount": "Amount"}).with_columns(merchant=pl.col("merchant") + " "))
    outcome = known.run()
    assert not outcome.success
    for part in (
        "ContractBroken", "pipeline 'faults'", f"partition '{faults.PARTITION}'", str(known.shards),
        "no rank was started", "column amount: missing (record/amount)", "expected  double",
        "Amount (double) is new and is spelled differently",
    ):  # fmt: skip
        assert part in outcome.errors
    assert len(known.attempts) == attempts
    assert known.table() == before
    # The columns are all there again, but not what is in them.
    rewrite(known, lambda frame: frame.rename({"Amount": "amount"}))
    outcome = known.run()
    assert "column merchant: unknown_rate (record/merchant)" in outcome.errors
    assert "They differ in white space" in outcome.errors
    assert "part-0.parquet, row " in outcome.errors
    assert (len(known.attempts), known.table()) == (attempts, before)
    # Meant so: the run goes on, and says what it found.
    warned = known.run(contract="warn")
    assert warned.success, warned.errors
    assert [row[1] for row in known.table()] == known.expected_ids()
    assert metadata(known)["contract_errors"] == 1
    assert [record.data["column"] for record in metadata(known)["contract"].records] == ["merchant"]
    assert warned.failed_checks().keys() == {"input_drift"}
    assert known.run(contract_limits={"ignore": ["merchant"]}).success
    # And a broken one mended.
    rewrite(known, lambda frame: frame.with_columns(merchant=pl.col("merchant").str.strip_chars()))
    mended = known.run()
    assert mended.success, mended.errors
    assert not mended.failed_checks()


def test_drift_warns_and_loads(known) -> None:
    rewrite(known, lambda frame: frame.with_columns(amount=pl.col("amount") * 0.2 + 75))
    outcome = known.run()
    assert outcome.success, outcome.errors
    assert [row[1] for row in known.table()] == known.expected_ids()
    assert outcome.failed_checks().keys() == {"input_drift"}
    assert "Drifted: record/amount" in (outcome.checks["input_drift"].description or "")
    values = {name: value.value for name, value in outcome.checks["input_drift"].metadata.items()}
    assert values["drifted_leaves"] == 1
    assert values["psi record/amount"] > 0.25 > values["psi record/items/price"]
    assert not known.run(contract_limits={"psi": 10.0}).failed_checks()


def test_a_checkpoint_without_a_profile_predicts_as_ever(station) -> None:
    outcome = station.run()
    assert outcome.success, outcome.errors
    assert not outcome.failed_checks()
    assert "holds no profile" in (outcome.checks["input_drift"].description or "")
