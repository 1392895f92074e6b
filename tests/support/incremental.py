"""Attempts at the shards of one folder, each taking what it may from an earlier one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rank_folders import INPUTS, SIZES

import json2vec as j2v
from json2vec.model.model import Model
from json2vec.predict.job import PredictJob, job_settings_digest, plan_job
from json2vec.predict.worker import run_job
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.journal import read_adopted
from json2vec.rank_files.manifest import Manifest, Marker, read_manifest
from json2vec.rank_files.resume import resume
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore, file_sha256
from json2vec.verify.tolerance import far

ROWS = sum(SIZES.values())


@pytest.fixture(scope="session")
def checkpoint(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(model.save(tmp_path_factory.mktemp("reuse") / "model.ckpt"))


class Runs:
    """Attempts at the shards of one folder, predicted as ranks do it: `run_job` in this process."""

    def __init__(self, root: Path, inputs: Path, checkpoint: Path, seen: list[int]) -> None:
        self.root, self.inputs, self.checkpoint, self.seen = root, inputs, checkpoint, seen

    def job(self, name: str, *, reuse: str | None = None, ranks: int = 2, **options: Any) -> PredictJob:
        snapshot = snapshot_files(LocalStore(self.inputs), options.pop("suffix", "parquet"))
        checkpoint = options.pop("checkpoint", self.checkpoint)
        return PredictJob(**{
            "attempt": name, "checkpoint": str(checkpoint), "checkpoint_sha256": file_sha256(checkpoint),
            "output": str(self.root / name), "snapshot": snapshot.to_json(), "intervals": [(0, snapshot.rows)],
            "world_size": ranks, "reuse": None if reuse is None else str(self.root / reuse), **options,
        })  # fmt: skip

    def predict(self, name: str, *, adopt: list[str] | None = None, **options: Any) -> Manifest:
        """One attempt, committed; ``self.seen`` then holds the rows of each of its forward passes."""
        job = self.job(name, **options)
        if adopt is not None:
            (self.root / name).mkdir(parents=True)
            earlier = [LocalStore(self.root / one) for one in adopt]
            found = resume(LocalStore(self.root / name), earlier, rows=job.intervals[0][1],
                           snapshot=plan_job(job).snapshot.digest, settings=job_settings_digest(job))  # fmt: skip
            job = job.model_copy(update={"intervals": list(found.intervals)})
        self.seen.clear()
        for rank in range(job.world_size):
            self.rank(job, rank)
        return commit_predictions(
            self.root / name, plan_job(job), settings=job.recorded(),
            adopted=read_adopted(LocalStore(self.root / name)), max_rejected=job.max_rejected,
        )  # fmt: skip

    def rank(self, job: PredictJob, rank: int) -> Marker:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(job.world_size)}
        try:
            return run_job(job)
        finally:
            del os.environ["RANK"], os.environ["WORLD_SIZE"]

    def table(self, name: str) -> pa.Table:
        files = read_manifest(LocalStore(self.root / name)).files
        found = pa.concat_tables(pq.ParquetFile(self.root / name / file.path).read() for file in files)
        keys = [(one["file"], one["row"], one["part"]) for one in found["source"].to_pylist()]
        return found.take(sorted(range(len(keys)), key=keys.__getitem__))

    def equals_full(self, name: str, full: str = "full", **options: Any) -> None:
        """Assert that attempt ``name`` is complete, proven, and row by row what a full run of the same input gives."""
        options.pop("reuse", None)
        self.predict(full, **options)
        found, expected = self.table(name), self.table(full)
        assert found.schema.equals(expected.schema)
        for name_ in found.schema.names:  # NaN equals NaN; of what was read, nothing else is close enough
            columns = [pa.concat_arrays(table[name_].chunks) for table in (found, expected)]
            assert not far(*columns, 1e-5 if name_ == "predictions" else 0.0).any(), name_
        proven = {"files", "coverage", "inputs", "schema", "values", "replay"}
        if "postprocessor" in options:
            proven.remove("values")  # of its columns nobody knows which values are possible
        report = j2v.verify_predictions(
            self.root / name, model=self.checkpoint, sample=None, require=tuple(sorted(proven)),
            trusted_modules=options.get("trusted_modules", ()),
        )  # fmt: skip
        assert report.passed, report.summary()

    def edit(self, file: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        rows = change(pq.ParquetFile(self.inputs / file).read().to_pylist())
        pq.write_table(pa.Table.from_pylist(rows, INPUTS), self.inputs / file, row_group_size=16)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each forward pass."""
    rows: list[int] = []
    forward = Model.forward

    def counted(self: Model, batch: Any, decode: Any = ()) -> Any:
        rows.append(batch.size)
        return forward(self, batch, decode)

    monkeypatch.setattr(Model, "forward", counted)
    return rows


@pytest.fixture
def runs(tmp_path: Path, shards: Path, checkpoint: Path, seen: list[int]) -> Runs:
    return Runs(tmp_path / "attempts", shards, checkpoint, seen)


def change_amounts(*numbers: int) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number in numbers:
            rows[number]["amount"] = 1000.0 + number
        return rows

    return change
