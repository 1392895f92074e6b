"""The demo's Dagster side: a persistent instance, and one run a day."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.attempts.sealed import seal
from j2v_dagster.demo.report import count_rows
from j2v_dagster.steps.pipeline import checkpoint_sha256

if TYPE_CHECKING:
    import dagster as dg

DATA_VARIABLE = "J2V_DEMO_DATA"  # demo/defs.yaml reads it


class DemoRunFailed(RuntimeError):
    """A Dagster run of the demo that did not succeed."""


def open_instance(data: Path) -> dg.DagsterInstance:
    """The demo's persistent Dagster instance; it becomes this process's DAGSTER_HOME."""
    import dagster as dg

    home = data / "dagster_home"
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(Path(__file__).with_name("dagster.yaml").read_text())
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ[DATA_VARIABLE] = str(data)
    return dg.DagsterInstance.get()


def predict_days(days: Iterable[date], instance: dg.DagsterInstance) -> None:
    """One Dagster run a day: freeze the shards, predict on two ranks, check, load.

    Raises:
        DemoRunFailed: names the run, the day and the error.
    """
    import torch

    from j2v_dagster.definitions import DEMO_DEFS, pipelines_from_yaml

    # The checks predict a sample again in this process: too little work to share among threads.
    torch.set_num_threads(1)
    job = pipelines_from_yaml(DEMO_DEFS).resolve_job_def("flights_predict")
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    for day in days:
        result = job.execute_in_process(
            partition_key=str(day), instance=instance, run_config=quiet, raise_on_error=False
        )
        if not result.success:
            failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
            why = "; ".join(_message(failure.error) for failure in failures)
            raise DemoRunFailed(f"run {result.run_id} of {day} failed: {why}. Remedy: see it in the UI (make ui)")


def is_done(data: Path, day: date) -> bool:
    """Whether the day's published attempt is of its shards as they are and of the checkpoint, and is loaded."""
    from j2v_dagster.shards.source import ShardSource
    from json2vec.errors import IncompletePredictions
    from json2vec.reading.snapshot import Snapshot

    output = PartitionOutput.of(data / "predictions", str(day), "dt={partition}")
    current = output.current()
    attempts = [attempt for attempt in output.attempts() if current and attempt.name == current["attempt"]]
    if not attempts:
        return False
    try:
        sealed = seal(attempts[0])
    except IncompletePredictions:
        return False
    job = json.loads(attempts[0].job_path.read_text())
    shards = ShardSource(inputs=str(data / "shards")).snapshot(str(day))
    return (
        job["checkpoint_sha256"] == checkpoint_sha256(data / "model.ckpt")
        and Snapshot.from_json(sealed.manifest.snapshot).digest == shards.digest
        and count_rows(data / "warehouse.duckdb", str(day)) == sealed.manifest.rows
    )


def _message(error: Any) -> str:
    if error is None:
        return "unknown error"
    return str((error.cause or error).message).strip()
