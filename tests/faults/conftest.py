"""A whole pipeline on a temporary disk, small enough to run many times."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import polars as pl
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the ranks find `injected` by PYTHONPATH, this process by sys.path

from forkserver import ForkServerLauncher  # noqa: E402

import json2vec as j2v  # noqa: E402
from j2v_dagster import build_prediction_pipeline  # noqa: E402

PARTITION = "2024-05-01"


def records(seed: int, rows: int) -> pl.DataFrame:
    """Nested rows with nulls."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "request_id": [f"{seed}-{i}" for i in range(rows)],
            "amount": [None if i % 11 == 0 else float(value) for i, value in enumerate(rng.normal(50, 20, rows))],
            "merchant": [None if i % 7 == 0 else f"m{k}" for i, k in enumerate(rng.integers(0, 5, rows))],
            "items": [
                [{"price": float(rng.normal()), "sku": f"s{rng.integers(3)}"} for _ in range(rng.integers(0, 4))]
                for _ in range(rows)
            ],
            "label": [f"l{k}" for k in rng.integers(0, 3, rows)],
        }
    )


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with vocabularies: faults do not ask how good it is."""
    model = j2v.Model.from_schema(
        j2v.Number("amount"),
        j2v.Category("merchant", max_vocab_size=16),
        j2v.Array(j2v.Number("price"), j2v.Category("sku", max_vocab_size=8), name="items", max_length=3),
        j2v.Category("label", max_vocab_size=8, target=True, topk=[2]),
        d_model=16, n_layers=1, n_heads=4, batch_size=32, embed=True,
    )  # fmt: skip
    model.learn(records(0, 200).to_dicts())
    return model.save(tmp_path_factory.mktemp("model") / "model.ckpt")


@dataclass
class Outcome:
    """How a run of the pipeline ended."""

    success: bool
    errors: str
    checks: dict[str, dg.AssetCheckEvaluation]

    def failed_checks(self) -> dict[str, str]:
        return {name: one.description or "" for name, one in self.checks.items() if not one.passed}


@dataclass
class Station:
    """A pipeline, its disk and its table."""

    root: Path
    checkpoint: Path
    launcher: Any
    options: dict[str, Any] = field(default_factory=dict)
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    @property
    def shards(self) -> Path:
        return self.root / "inputs" / f"dt={PARTITION}"

    @property
    def attempts(self) -> list[Path]:
        folder = self.root / "output" / f"dt={PARTITION}" / "attempts"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def write_shards(self, seed: int, sizes: tuple[int, ...] = (150, 90, 7)) -> None:
        self.shards.mkdir(parents=True, exist_ok=True)
        for old in self.shards.iterdir():
            old.unlink()
        for index, rows in enumerate(sizes):
            records(seed * 100 + index, rows).write_parquet(self.shards / f"part-{index}.parquet", row_group_size=40)

    def definitions(self, **options: Any) -> dg.Definitions:
        return build_prediction_pipeline(
            **{
                "name": "faults",
                "inputs": str(self.root / "inputs"),
                "partitions": {"kind": "static", "keys": [PARTITION]},
                "checkpoint": str(self.checkpoint),
                "output": str(self.root / "output"),
                "warehouse": str(self.root / "warehouse.duckdb"),
                "table": "predictions",
                "columns": {
                    "request_id": "inputs.request_id",
                    "label": 'predictions["record/label"].content.value',
                    "probability": 'predictions["record/label"].content.probability',
                },
                "ranks": 2,
                "threads": 1,
                "min_free_bytes": 0,
                "replay_sample": 32,
                "trusted_modules": ["injected"],
                "launcher": self.launcher,
                **self.options,
                **options,
            }
        )

    def run(self, *, only: tuple[str, ...] = (), **options: Any) -> Outcome:
        """Run the pipeline's job for the partition, or only some of its assets and their checks."""
        job = self.definitions(**options).resolve_job_def("faults_predict")
        selection = [dg.AssetKey(["faults", name]) for name in only] or None
        result = job.execute_in_process(
            partition_key=PARTITION, instance=self.instance, raise_on_error=False, asset_selection=selection
        )
        errors = [
            event.event_specific_data.error.to_string()  # type: ignore[union-attr]
            for event in result.all_events
            if event.event_type_value == "STEP_FAILURE"
        ]
        checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
        return Outcome(result.success, "\n".join(errors), checks)

    def table(self) -> list[tuple]:
        """All rows of the warehouse, sorted."""
        if not (self.root / "warehouse.duckdb").exists():
            return []
        with duckdb.connect(str(self.root / "warehouse.duckdb"), read_only=True) as connection:
            return sorted(
                connection.execute("select partition, request_id, label, probability from predictions").fetchall()
            )

    def expected_ids(self) -> list[str]:
        return sorted(pl.read_parquet(self.shards / "*.parquet")["request_id"].to_list())


@pytest.fixture
def station(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    """A pipeline whose table holds a first, good version of the partition; new shards lie ready."""
    fault = tmp_path / "armed"
    monkeypatch.setenv("J2V_FAULT", str(fault))
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    with dg.DagsterInstance.ephemeral() as instance:
        station = Station(tmp_path, checkpoint, ForkServerLauncher(), instance=instance)
        station.write_shards(seed=1)
        first = station.run()
        assert first.success, first.errors
        assert [row[1] for row in station.table()] == station.expected_ids()
        station.write_shards(seed=2)
        yield station


def arm(fault: str) -> None:
    """Switch a fault of `injected` on."""
    Path(os.environ["J2V_FAULT"]).write_text(fault)


def disarm() -> None:
    Path(os.environ["J2V_FAULT"]).unlink()
