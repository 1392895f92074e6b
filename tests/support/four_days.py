"""Four days of shards, and a pipeline that backfills them in one run."""

from __future__ import annotations

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
from j2v_dagster.pipeline import build_prediction_pipeline

FAULTS = Path(__file__).parents[1] / "faults"
sys.path.insert(0, str(FAULTS))

from forkserver import ForkServerLauncher  # noqa: E402

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
