"""Predict several partitions with one start of the ranks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from j2v_dagster.attempts.folder import LAUNCHES, Attempt, default_scratch
from j2v_dagster.shards.source import read_inputs
from j2v_dagster.steps.pipeline import Pipeline, checkpoint_sha256
from j2v_dagster.steps.predict import Prepared, commit, committed, launch_ranks, prepare
from j2v_dagster.steps.result import Result
from j2v_dagster.steps.watch import Launch, RanksFailed
from json2vec.errors import CheckpointError, Json2VecError

if TYPE_CHECKING:
    from json2vec.rank_files.manifest import Manifest


def predict_many(
    pipeline: Pipeline, partitions: Sequence[str], run_id: str, log: logging.Logger
) -> Iterator[tuple[str, Result | Exception]]:
    """Predict several partitions with one start of the ranks.

    Args:
        pipeline: the pipeline that the partitions belong to.
        partitions: the partitions' keys; the ranks predict them in this order.
        run_id: the Dagster run that asks for it.
        log: gets the ranks' lines and their progress.

    Yields:
        Each partition, in order, with its result or with the error that befell it alone.
    """
    from json2vec.predict.job import PredictJobs

    _log_estimate(pipeline, partitions, log)
    with ExitStack() as locks:
        ready: dict[str, Prepared | Exception] = {}
        for partition in partitions:
            try:
                ready[partition] = locks.enter_context(prepare(pipeline, partition, run_id, log, alone=False))
            except (Json2VecError, OSError) as exc:
                ready[partition] = exc
        uncommitted = {prepared.attempt.name: prepared for prepared in ready.values() if isinstance(prepared, Prepared)}
        launch, trouble = _launch_of(pipeline, run_id, list(uncommitted.values())), ""
        manifests: dict[str, Manifest] = {}

        def commit_one(attempt: Attempt) -> None:
            prepared = uncommitted.pop(attempt.name)
            try:
                manifests[prepared.partition] = commit(prepared)
            except Exception as exc:  # of this partition; the ranks are at work on the others
                ready[prepared.partition] = RanksFailed(f"{exc}{trouble}") if trouble else exc

        if uncommitted:
            launch.folder.mkdir(parents=True, exist_ok=True)
            jobs = PredictJobs(jobs=[prepared.job for prepared in uncommitted.values()])
            launch.job_path.write_text(jobs.model_dump_json())
            ranks = pipeline.options.ranks
            log.info(f"{len(uncommitted)} partitions in one start of {ranks} ranks; logs: {launch.log_folder}")
            try:
                launch_ranks(pipeline, launch, log, commit_one)
            except Json2VecError as exc:  # a partition whose ranks had all ended before is whole all the same
                log.error(str(exc))
                trouble = f" (the ranks failed: {exc})"
        # All manifests first: whoever reads them need not wait for what the UI shows of them.
        for prepared in list(uncommitted.values()):
            commit_one(prepared.attempt)
        for partition, outcome in ready.items():
            if isinstance(outcome, Exception):
                yield partition, outcome
                continue
            try:
                yield partition, committed(pipeline, outcome, manifests[partition], launch)
            except (Json2VecError, OSError) as exc:
                yield partition, exc


def _log_estimate(pipeline: Pipeline, partitions: Sequence[str], log: logging.Logger) -> None:
    """Log the run's first line: what all partitions together will take. One without a snapshot is left out."""
    snapshots, asset = [], pipeline.key("input_shards").to_user_string()
    for partition in partitions:
        with suppress(Json2VecError):  # said when the partition's turn comes
            snapshots.append(read_inputs(pipeline.output_of(partition).store, partition=partition, asset=asset))
    with suppress(CheckpointError):
        log.info(pipeline.estimate_line(snapshots, checkpoint_sha256(pipeline.local_checkpoint())))


def _launch_of(pipeline: Pipeline, run_id: str, several: Sequence[Prepared]) -> Launch:
    """One start for several partitions. Its job and logs lie in `LAUNCHES` of the output, or of the scratch folder
    where that is an object store, in a folder of its own: a retry must not read the lines of the try before."""
    name = f"{run_id}-{several[0].attempt.name}" if several else run_id
    store = pipeline.store.below(f"{LAUNCHES}/{name}")
    folder = store.workspace(Path(pipeline.scratch or default_scratch()) / LAUNCHES / name)
    return Launch(folder, tuple(prepared.attempt for prepared in several), store)
