"""Backfills in a single run: one start of the ranks, and every partition for itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

import json2vec as j2v
from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.pipeline import build_prediction_pipeline
from j2v_dagster.steps import predict_many

FAULTS = Path(__file__).parents[1] / "faults"
sys.path.insert(0, str(FAULTS))

from forkserver import ForkServerLauncher  # noqa: E402

pytestmark = pytest.mark.slow

DAYS = ["d1", "d2", "d3", "d4"]


class Counting:
    """A launcher that counts its starts."""

    def __init__(self) -> None:
        self.inner, self.starts = ForkServerLauncher(), 0

    def submit(self, job_path: str, *, ranks: int, log_folder: str) -> str:
        self.starts += 1
        return self.inner.submit(job_path, ranks=ranks, log_folder=log_folder)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Case:
    """Four days of shards and a pipeline that backfills them in one run."""

    def __init__(self, root: Path, instance: dg.DagsterInstance) -> None:
        self.root, self.instance, self.launcher = root, instance, Counting()
        model = j2v.Model.from_schema(
            j2v.Number("amount"), j2v.Category("label", max_vocab_size=8, target=True), d_model=8, n_layers=1,
            n_heads=2, batch_size=4,
        )  # fmt: skip
        model.learn([{"label": "yes"}, {"label": "no"}])
        self.checkpoint = model.save(root / "model.ckpt")
        for number, day in enumerate(DAYS):
            self.write(day, rows=5 + 3 * number)

    def write(self, day: str, *, rows: int = 5, bad: bool = False) -> None:
        folder = self.root / "shards" / f"dt={day}"
        folder.mkdir(parents=True, exist_ok=True)
        amount = pl.Series(["no number"] * rows if bad else [float(n) for n in range(rows)])
        label = pl.Series([None] * rows, dtype=pl.String)
        pl.DataFrame({"id": [f"{day}-{n}" for n in range(rows)], "amount": amount, "label": label}).write_parquet(
            folder / "a.parquet"
        )

    def definitions(self, **options: Any) -> dg.Definitions:
        settings: dict[str, Any] = {
            "name": "shop", "inputs": str(self.root / "shards"), "partitions": {"kind": "static", "keys": DAYS},
            "checkpoint": str(self.checkpoint), "output": str(self.root / "out"),
            "warehouse": str(self.root / "w.duckdb"), "table": "labels", "ranks": 2, "min_free_bytes": 0,
            "backfill": "single_run", "launcher": self.launcher,
            "columns": {"id": "inputs.id", "label": 'predictions["record/label"].content.value'},
        }  # fmt: skip
        return build_prediction_pipeline(**(settings | options))

    def run(self, *roles: str, first: str = "d1", last: str = "d4", **options: Any) -> dg.ExecuteInProcessResult:
        job = self.definitions(**options).resolve_job_def("shop_predict")
        return job.execute_in_process(
            instance=self.instance, raise_on_error=False,
            asset_selection=[dg.AssetKey(["shop", role]) for role in roles] or None,
            tags={ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last},
        )  # fmt: skip

    def table(self) -> dict[str, int]:
        with duckdb.connect(str(self.root / "w.duckdb"), read_only=True) as connection:
            return dict(connection.execute('SELECT "partition", count(DISTINCT id) FROM labels GROUP BY 1').fetchall())

    def materialized(self, role: str) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey(["shop", role]))

    def checks(self, name: str = "row_alignment") -> dict[str | None, str]:
        key = dg.AssetCheckKey(dg.AssetKey(["shop", "prediction_rank_files"]), name)
        records = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
        latest = {record.partition: record.status.value for record in reversed(records)}
        return {partition: status for partition, status in latest.items() if status != "PLANNED"}

    def stale(self, role: str) -> dict[str, StaleStatus]:
        graph = self.definitions().resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self.instance, graph, LoadingContextForTest(self.instance))
        return {day: resolver.get_status(dg.AssetKey(["shop", role]), day) for day in DAYS}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    paths = [str(FAULTS), str(FAULTS.parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Case(tmp_path, instance)


def errors(result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(
        event.event_specific_data.error.to_string()  # type: ignore[union-attr]
        for event in result.all_events
        if event.is_step_failure
    )


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
