"""`PredictJob`, everything the ranks of one prediction must know, and ``python -m json2vec.predict JOB.json``, which
each of them runs.

Ranks need no process group: rank and world size come from the launcher's environment, every rank is a single-device
Trainer over its share of the plan, nobody waits on a barrier, and a straggler cannot time out its neighbours.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from json2vec.rank_files.rejected import MAX_REJECTED
from json2vec.reading.plan import Plan
from json2vec.reading.snapshot import Snapshot


class PredictJob(BaseModel):
    """An immutable job, stored as JSON in the attempt's folder.

    Args:
        attempt: id that all ranks share.
        checkpoint: path or URI of the model. checkpoint_sha256: of that file; a rank refuses another file.
        output: folder the ranks write into, local or in an object store.
        snapshot: `Snapshot.to_json` of the input.
        intervals: half-open ranges of plan row numbers to predict. world_size: number of ranks.
        storage_options: for the object store of the snapshot's root, the output and the checkpoint; never credentials.
        scratch: local folder for what is not uploaded yet and for copies of checkpoints; None: the system's for
            temporary files.
        batch_size: rows; None takes the model's. threads: torch threads of a rank; None leaves it to the launcher.
        accelerator, precision: as Lightning's Trainer takes them.
        preprocessor, postprocessor: ``module:function``; the module must be one of trusted_modules.
        inputs: which input columns the rank files keep: all, none, or these.
        reconstruct: further leaves to decode.
        segment_rows: input rows after which a rank seals a file.
        flush_every_n_batches: batches in a Parquet row group.
        on_bad_row: ``raise``, or ``quarantine`` into rejected-N.parquet.
        max_rejected: how many rows may be quarantined: a share of all input rows (float) or a number of rows (int).
        reuse: folder of a complete earlier attempt, a path or URI. Rows whose hash it has take its predictions if it is
            of the same model, settings and input schema; otherwise a rank says why and predicts all its rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    attempt: str
    checkpoint: str
    checkpoint_sha256: str
    output: str
    snapshot: dict[str, Any]
    intervals: list[tuple[int, int]]
    world_size: int = Field(ge=1)
    storage_options: dict[str, Any] = {}
    scratch: str | None = None
    batch_size: int | None = Field(None, ge=1)
    accelerator: str = "cpu"
    precision: str = "32-true"
    threads: int | None = Field(None, ge=1)
    preprocessor: str | None = None
    postprocessor: str | None = None
    trusted_modules: list[str] = []
    inputs: bool | list[str] = True
    reconstruct: list[str] = []
    segment_rows: int = Field(1_000_000, ge=1)
    flush_every_n_batches: int | None = Field(None, ge=1)
    on_bad_row: Literal["raise", "quarantine"] = "raise"
    max_rejected: int | float = MAX_REJECTED
    reuse: str | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PredictJob:
        return cls.model_validate_json(Path(path).read_bytes())

    def settings(self) -> dict[str, Any]:
        """What the manifest records of how the ranks predicted."""
        return {
            "device": self.accelerator, "precision": self.precision, "batch_size": self.batch_size,
            "threads": self.threads, "preprocessor": self.preprocessor, "postprocessor": self.postprocessor,
            "inputs": self.inputs, "reconstruct": self.reconstruct,
        }  # fmt: skip


class PredictJobs(BaseModel):
    """Several jobs that the same ranks do one after the other: the partitions of a backfill."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    jobs: list[PredictJob] = Field(min_length=1)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PredictJobs:
        """The jobs in a file that holds a `PredictJob` or `PredictJobs`."""
        data = Path(path).read_bytes()
        if "jobs" in json.loads(data):
            return cls.model_validate_json(data)
        return cls(jobs=[PredictJob.model_validate_json(data)])


def job_settings_digest(job: PredictJob) -> str:
    """Digest of all that can change this job's predictions besides its input: two attempts with the same one may share
    sealed segments. Nothing is imported to compute it."""
    from json2vec.rank_files.settings import settings_digest

    kept = ("checkpoint_sha256", "accelerator", "precision", "preprocessor", "postprocessor", "inputs", "reconstruct")
    processors = [name.partition(":")[0] for name in (job.preprocessor, job.postprocessor) if name]
    return settings_digest({name: getattr(job, name) for name in kept}, [*job.trusted_modules, *processors])


def plan_job(job: PredictJob) -> Plan:
    """The plan that the job's snapshot, intervals and world size stand for."""
    intervals = tuple((start, stop) for start, stop in job.intervals)
    return Plan(Snapshot.from_json(job.snapshot), job.world_size, intervals)


def error_name(rank: int) -> str:
    """The name of a rank's error report."""
    return f"rank-{rank}.error.json"


def shared_rows(plan: Plan, rank: int) -> int:
    """Rows of a rank's share."""
    return sum(stop - start for start, stop in plan.share(rank))
