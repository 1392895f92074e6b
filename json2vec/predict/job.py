"""`PredictJob`: everything that the ranks of one prediction must know.

Ranks need no process group: rank and world size come from the launcher's environment, every rank is a single-device
Trainer over its share of the plan, nobody waits on a barrier, and a straggler cannot time out its neighbours.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from json2vec.rank_files.settings import PredictSettings
from json2vec.reading.plan import Plan
from json2vec.reading.snapshot import Snapshot


class PredictJob(PredictSettings):
    """An immutable job, stored as JSON in the attempt's folder: the settings, and what they are applied to.

    Args:
        attempt: the id that all ranks share.
        checkpoint: path or URI of the model.
        checkpoint_sha256: SHA-256 (hex) of the model's file; a rank refuses another file.
        output: the folder that the ranks write into, a path or URI.
        snapshot: `Snapshot.to_json` of the input.
        intervals: half-open ranges of the plan's row numbers to predict.
        world_size: the number of ranks.
        storage_options: options for the object store of the snapshot's root, the output and the checkpoint; never
            credentials.
        scratch: local folder for what is not uploaded yet and for copies of checkpoints; None takes the system's folder
            for temporary files.
        reuse: folder of a complete earlier attempt, a path or URI. Rows whose hash it has take its predictions if it is
            of the same model, settings and input schema; otherwise a rank says why and predicts all its rows.
        **settings: see `json2vec.rank_files.settings.PredictSettings`.
    """

    format: Literal[1] = 1
    attempt: str
    checkpoint: str
    checkpoint_sha256: str
    output: str
    snapshot: dict[str, Any]
    intervals: list[tuple[int, int]]
    world_size: int = Field(ge=1)
    storage_options: dict[str, Any] = Field(default_factory=dict)
    scratch: str | None = None
    reuse: str | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PredictJob:
        """The job in a local file."""
        return cls.model_validate_json(Path(path).read_bytes())


class PredictJobs(BaseModel):
    """Several jobs that the same ranks do one after the other: the partitions of a backfill.

    Args:
        jobs: at least one job, in the order in which they are done.
    """

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
    """Digest of all that can change this job's predictions besides its input; see `PredictSettings.digest`."""
    return job.digest(job.checkpoint_sha256)


def plan_job(job: PredictJob) -> Plan:
    """The plan that the job's snapshot, intervals and world size stand for."""
    intervals = tuple((start, stop) for start, stop in job.intervals)
    return Plan(Snapshot.from_json(job.snapshot), job.world_size, intervals)


def error_name(rank: int) -> str:
    """The name of a rank's error report."""
    return f"rank-{rank}.error.json"


def shared_rows(plan: Plan, rank: int) -> int:
    """How many input rows are in a rank's share of the plan."""
    return sum(stop - start for start, stop in plan.share(rank))
