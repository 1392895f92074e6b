"""Backfills in a single run: one start of the ranks, and every partition for itself."""

from __future__ import annotations

import json

import dagster as dg
import pytest
from dagster._core.definitions.data_version import StaleStatus
from four_days import DAYS, Case, errors

import json2vec as j2v
from j2v_dagster.attempts.folder import PartitionOutput

pytestmark = pytest.mark.slow


def test_one_start_gives_every_partition_its_own_files_checks_metadata_and_status(case: Case) -> None:
    done = case.run()
    assert done.success, errors(done)
    assert case.launcher.starts == 1
    assert case.table() == {"d1": 5, "d2": 8, "d3": 11, "d4": 14}
    said = [event.user_message for event in case.instance.all_logs(done.run_id)]
    (estimate,) = [text for text in said if text.startswith("estimate: ")]
    assert "38 rows in 4 shards" in estimate
    for role in ("input_shards", "prediction_rank_files", "predictions"):
        assert case.materialized(role) == set(DAYS)
        assert set(case.stale(role).values()) == {StaleStatus.FRESH}
    for name in ("every_rank_file_present", "row_alignment", "schema_matches_model", "values_valid", "rejected_rows"):
        assert case.checks(name) == dict.fromkeys(DAYS, "SUCCEEDED")
    for number, day in enumerate(DAYS):
        output = PartitionOutput.of(case.root / "out", day, "dt={partition}")
        (attempt,) = output.attempts()
        assert json.loads(attempt.store.read("_manifest.json"))["rows"] == 5 + 3 * number
        assert (output.current() or {})["attempt"] == attempt.name
        assert j2v.verify_predictions(attempt.path, model=case.checkpoint).passed
        event = case.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(["shop", "prediction_rank_files"]), asset_partitions=[day]), limit=1
        ).records[0]
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["dagster/partition_row_count"].value == 5 + 3 * number
        assert event.asset_materialization.metadata["attempt"].value == attempt.name


def test_a_run_over_no_partitions_fails(case: Case) -> None:
    nothing = case.run(first="d3", last="d1")
    assert not nothing.success
    assert "its range is from 'd3' to 'd1'; expected one partition or more" in errors(nothing)
    assert "Remedy: exchange the ends" in errors(nothing)
    assert case.launcher.starts == 0
    assert case.materialized("input_shards") == set()


@pytest.mark.filterwarnings("ignore:Function `asset_materialize_command` is superseded")
def test_the_command_line_materializes_a_range_of_everything(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner
    from dagster._cli.asset import asset_cli

    home = case.root / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    options = {
        "name": "shop", "inputs": str(case.root / "shards"), "partitions": {"kind": "static", "keys": DAYS},
        "checkpoint": str(case.checkpoint), "output": str(case.root / "out"), "backfill": "single_run", "ranks": 1,
        "warehouse": str(case.root / "w.duckdb"), "table": "labels", "min_free_bytes": 0,
        "columns": {"id": "inputs.id"},
    }  # fmt: skip
    code = case.root / "code.py"
    lines = ["from j2v_dagster import build_prediction_pipeline", f"defs = build_prediction_pipeline(**{options!r})"]
    code.write_text("\n".join(lines))
    words = ["materialize", "--select", "*", "--partition-range", "d2...d3", "-f", str(code)]
    done = CliRunner().invoke(asset_cli, words)
    assert done.exit_code == 0, done.output
    assert case.table() == {"d2": 8, "d3": 11}


def test_a_partition_that_its_checks_refuse_is_not_loaded(case: Case) -> None:
    assert case.run("input_shards").success
    assert case.run("model_checkpoint").success
    predicted = case.run("prediction_rank_files")
    assert predicted.success, errors(predicted)
    assert case.launcher.starts == 1
    (attempt,) = PartitionOutput.of(case.root / "out", "d3", "dt={partition}").attempts()
    (attempt.path / "rank-1.parquet").unlink()
    loaded = case.run("predictions")
    assert not loaded.success
    assert "d3: predictions: IncompletePredictions: rank 1: " in errors(loaded)
    assert case.table() == {"d1": 5, "d2": 8, "d4": 14}
    assert case.materialized("predictions") == {"d1", "d2", "d4"}


def test_a_new_checkpoint_makes_predicted_partitions_stale_until_they_are_predicted_again(case: Case) -> None:
    assert case.run().success
    model = j2v.Model.load(case.checkpoint)
    model.learn([{"label": "maybe"}])
    model.save(case.checkpoint)
    assert case.run("model_checkpoint").success
    assert set(case.stale("prediction_rank_files").values()) == {StaleStatus.STALE}
    again = case.run(first="d2", last="d3")
    assert again.success, errors(again)
    assert case.stale("prediction_rank_files") == {
        "d1": StaleStatus.STALE, "d2": StaleStatus.FRESH, "d3": StaleStatus.FRESH, "d4": StaleStatus.STALE
    }  # fmt: skip
    assert case.stale("predictions")["d2"] == StaleStatus.FRESH
    # A shard written again makes its own partition stale, once its snapshot was taken.
    case.write("d2", rows=9)
    assert case.run("input_shards", first="d2", last="d2").success
    stale = case.stale("prediction_rank_files")
    assert (stale["d2"], stale["d3"]) == (StaleStatus.STALE, StaleStatus.FRESH)
