"""A small pipeline over orders of a shop, to run in a folder of its own, and what its runs say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.pipeline import build_prediction_pipeline

LABEL = 'predictions["record/label"].content.value'
CHECKS = {"every_rank_file_present", "row_alignment", "schema_matches_model", "values_valid"}
CHECKS |= {"rejected_rows", "input_drift"}


def write_shard(root: Path, day: str, name: str, first: int, count: int, amount: float = 1.0) -> None:
    folder = root / "shards" / f"dt={day}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"r{number}", "amount": amount * number, "merchant": ["books", "coffee"][number % 2], "label": None}
        for number in range(first, first + count)
    ]
    texts = [(name, pa.string()) for name in ("id", "merchant", "label")]
    schema = pa.schema([*texts, ("amount", pa.float64())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / name)


class Case:
    """One pipeline in a folder of its own, and an instance."""

    def __init__(self, root: Path, checkpoint: Path, instance: dg.DagsterInstance, **options: Any) -> None:
        self.root = root
        self.instance = instance
        settings: dict[str, Any] = {
            "name": "shop", "inputs": str(root / "shards"), "partitions": {"kind": "static", "keys": ["d1", "d2"]},
            "checkpoint": str(checkpoint), "output": str(root / "out"), "warehouse": str(root / "w.duckdb"),
            "table": "labels", "ranks": 2, "rank_timeout_s": 120.0, "min_free_bytes": 0,
            "columns": {"id": "inputs.id", "label": LABEL, "row": "source.row", "file": "source.file",
                        "attempt": "manifest.attempt", "snapshot": "manifest.snapshot"},
        }  # fmt: skip
        self.defs = build_prediction_pipeline(**(settings | options))

    def run(self, *roles: str, partition: str = "d1") -> dg.ExecuteInProcessResult:
        """Materialize these assets with their checks; all of them by default."""
        definitions: list[Any] = [*(self.defs.assets or ()), *(self.defs.asset_checks or ())]
        selection = dg.AssetSelection.assets(*(["shop", role] for role in roles)) if roles else None
        return dg.materialize(
            definitions, partition_key=None if roles == ("model_checkpoint",) else partition, instance=self.instance,
            selection=selection, raise_on_error=False,
        )  # fmt: skip

    @property
    def output(self) -> PartitionOutput:
        return PartitionOutput.of(self.root / "out", "d1", "dt={partition}")

    def table(self, sql: str = "SELECT id FROM labels ORDER BY row") -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.root / "w.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()


def error_of(result: dg.ExecuteInProcessResult) -> str:
    failed = [event.event_specific_data for event in result.all_events if event.is_step_failure]
    return "\n".join(str(data.error.to_string()) for data in failed if data is not None and data.error)  # type: ignore[union-attr]


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {one.check_name: one.passed for one in result.get_asset_check_evaluations()}


def metadata(case: Case, role: str) -> dict[str, Any]:
    event = case.instance.get_latest_materialization_event(dg.AssetKey(["shop", role]))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}
