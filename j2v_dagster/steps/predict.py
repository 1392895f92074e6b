"""Predict one partition: preflight, adopt what earlier attempts sealed, run the ranks, commit."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from j2v_dagster.attempts.folder import MANIFEST, Attempt, PartitionOutput, default_scratch
from j2v_dagster.attempts.locks import PartitionLock, partition_lock
from j2v_dagster.attempts.sealed import reusable, seal
from j2v_dagster.shards.source import read_inputs
from j2v_dagster.steps.contract import check_columns, contract_metadata
from j2v_dagster.steps.lineage import columns_read, rank_file_lineage
from j2v_dagster.steps.pipeline import Pipeline, checkpoint_sha256
from j2v_dagster.steps.result import Result, rank_files_result, rank_table
from j2v_dagster.steps.watch import Launch, RanksFailed, error_names, error_of, error_words, run_ranks
from json2vec.errors import IncompletePredictions, StoreError
from json2vec.reading.snapshot import Snapshot, check_unchanged

if TYPE_CHECKING:
    import pyarrow as pa

    from json2vec.contract import Outcome
    from json2vec.predict.job import PredictJob
    from json2vec.rank_files.manifest import Manifest
    from json2vec.rank_files.resume import Resume


@dataclass(frozen=True)
class Prepared:
    """A partition that is ready to be predicted: its preflight has passed, its attempt exists.

    Attributes:
        partition: the partition's key.
        attempt: the new attempt, without rank files yet.
        job: what the ranks are to run.
        snapshot: the frozen list of the partition's shards.
        resumed: what the attempt adopted of earlier ones.
        model: the plain values that the checkpoint's file holds.
        compared: the outcome of the contract; None where nothing was compared.
        lock: the partition's lock, which this run holds.
        claim: makes sure, once more, that the partition's output is the pipeline's.
    """

    partition: str
    attempt: Attempt
    job: PredictJob
    snapshot: Snapshot
    resumed: Resume
    model: Mapping[str, Any]
    compared: Outcome | None
    lock: PartitionLock
    claim: Callable[[], None]


def predict(pipeline: Pipeline, partition: str, run_id: str, log: logging.Logger) -> Result:
    """Preflight, adopt what earlier attempts sealed, predict the rest on all ranks, commit."""
    with prepare(pipeline, partition, run_id, log) as prepared:
        launch = Launch.of(prepared.attempt)
        launch_ranks(pipeline, launch, log)
        return committed(pipeline, prepared, commit(prepared), launch)


@contextmanager
def prepare(
    pipeline: Pipeline, partition: str, run_id: str, log: logging.Logger, *, alone: bool = True
) -> Iterator[Prepared]:
    """Hold the partition's lock, run the preflight, make an attempt and adopt what earlier ones sealed.

    Args:
        pipeline: the pipeline that the partition belongs to.
        partition: the partition's key.
        run_id: the Dagster run that asks for it.
        log: gets the estimate and what was adopted.
        alone: whether the run predicts no other partition; then the estimate is logged here.
    """
    output = pipeline.output_of(partition)
    with partition_lock(output.store, f"run {run_id}") as lock:
        yield _prepare(pipeline, output, run_id, lock, log, alone)


def _prepare(
    pipeline: Pipeline, output: PartitionOutput, run_id: str, lock: PartitionLock, log: logging.Logger, alone: bool
) -> Prepared:
    from json2vec.model.checkpoint import load as load_checkpoint
    from json2vec.predict.job import PredictJob

    partition = output.partition
    pipeline.claims.check(output)
    snapshot = read_inputs(output.store, partition=partition, asset=pipeline.key("input_shards").to_user_string())
    check_unchanged(snapshot, pipeline.source.store(partition))
    checkpoint = pipeline.local_checkpoint()
    digest = checkpoint_sha256(checkpoint)
    if alone:
        log.info(pipeline.estimate_line([snapshot], digest))
    model = load_checkpoint(checkpoint)  # plain values and tensors; refuses a truncated or foreign file
    shards, subject = pipeline.source.store(partition), f"pipeline {pipeline.name!r}, partition {partition!r}"
    compared = pipeline.contract.compare(model, snapshot, shards, pipeline.settings, log=log, subject=subject)
    check_columns(model, snapshot, shards, pipeline.settings, subject=subject)
    earlier = output.resumable() if pipeline.options.resume else []
    stored = reusable(output, log=log) if pipeline.options.incremental else None
    pipeline.claims.take_new(output, log)
    attempt = output.create(run_id)
    pipeline.claims.stamp(attempt)
    share = 1.0
    if attempt.store.free_bytes() is None:  # only open segments lie on the disk, one a rank
        share = min(1.0, pipeline.options.ranks * pipeline.settings.segment_rows / max(snapshot.rows, 1))
    check_free_space(attempt.path, snapshot, min_free_bytes=pipeline.options.min_free_bytes, share=share)
    job = PredictJob(
        attempt=attempt.name,
        checkpoint=pipeline.checkpoint,
        checkpoint_sha256=digest,
        output=attempt.uri,
        snapshot=snapshot.to_json(),
        intervals=[(0, snapshot.rows)],
        world_size=pipeline.options.ranks,
        scratch=str(pipeline.scratch or default_scratch()),
        reuse=None if stored is None else stored.attempt.uri,
        storage_options=pipeline.source.storage_options or {},
        **dict(pipeline.settings),
    )
    job, resumed = resume_attempt(attempt, job, earlier, snapshot, log=log)
    attempt.write_job(job.model_dump_json())
    log.info(
        f"attempt {attempt.name}: {snapshot.rows - resumed.adopted_rows:,} rows of partition {partition} on "
        f"{pipeline.options.ranks} ranks; logs: {attempt.log_folder}"
    )
    claim = partial(pipeline.claims.take, output, log)
    return Prepared(partition, attempt, job, snapshot, resumed, model, compared, lock, claim)


def launch_ranks(
    pipeline: Pipeline, launch: Launch, log: logging.Logger, on_done: Callable[[Attempt], None] | None = None
) -> None:
    """Start the pipeline's ranks once and wait for their end; see `j2v_dagster.steps.watch.run_ranks`."""
    run_ranks(
        pipeline.launcher,
        launch,
        ranks=pipeline.options.ranks,
        rank_timeout_s=pipeline.options.rank_timeout_s,
        log=log,
        on_done=on_done,
    )


def commit(prepared: Prepared) -> Manifest:
    """Write the manifest of an attempt whose ranks have ended, if it is complete."""
    prepared.claim()
    prepared.lock.check()
    return commit_attempt(prepared.attempt, prepared.job)


def committed(pipeline: Pipeline, prepared: Prepared, manifest: Manifest, launch: Launch) -> Result:
    """The result of an attempt that is committed, as the UI shows it.

    Args:
        pipeline: the pipeline that the partition belongs to.
        prepared: the partition and its attempt.
        manifest: the attempt's manifest.
        launch: the start of the ranks that predicted it, for the address of the logs.
    """
    attempt, snapshot, resumed = prepared.attempt, prepared.snapshot, prepared.resumed
    schema = seal(attempt).schema()
    return rank_files_result(
        prepared.job, manifest, snapshot,
        schema=schema,
        lineage=_lineage(pipeline, schema, snapshot, prepared.model["schema"]),
        ranks=rank_table(attempt, pipeline.options.ranks),
        where={
            "dagster/uri": attempt.uri,
            "attempt": attempt.name,
            "logs": dg.MetadataValue.path(str(launch.log_folder)),
            "manifest": dg.MetadataValue.path(attempt.store.uri(MANIFEST)),
        },
        more={"adopted_rows": resumed.adopted_rows, "adopted_segments": len(resumed.adopted),
              **contract_metadata(prepared.compared)},
    )  # fmt: skip


def _lineage(
    pipeline: Pipeline, rank_files: pa.Schema, snapshot: Snapshot, model: Mapping[str, Any]
) -> dg.TableColumnLineage:
    names = snapshot.schema.names
    kept = [child.name for child in rank_files.field("inputs").type] if "inputs" in rank_files.names else []
    # A preprocessor may make anything out of any column.
    read = names if pipeline.settings.preprocessor else columns_read(model, names)
    addresses = [child.name for child in rank_files.field("predictions").type]
    return rank_file_lineage(kept, addresses, shards=pipeline.key("input_shards"), read=read)


def check_free_space(
    folder: str | os.PathLike[str], snapshot: Snapshot, *, min_free_bytes: int, share: float = 1.0
) -> None:
    """Refuse to start where the disk holds less than twice the input's bytes plus ``min_free_bytes``.

    Args:
        folder: a folder on the disk that is looked at.
        snapshot: the frozen list of the partition's shards.
        min_free_bytes: bytes that must be free beyond twice the input's.
        share: the share of the output, from 0.0 to 1.0, that lies on this disk at a time; less than 1.0 where segments
            go to an object store.

    Raises:
        json2vec.errors.StoreError: the disk holds less; the message says how many bytes are free and how many are
            needed.
    """
    needed = int(2 * share * sum(snapshot.files["size"].to_pylist())) + min_free_bytes
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(
            f"{folder} has {free:,} bytes free; expected at least {needed:,} (twice the input and min_free_bytes). "
            "Remedy: make room with `j2v-dagster clean`, or write elsewhere"
        )


def resume_attempt(
    attempt: Attempt, job: PredictJob, earlier: Sequence[Attempt], snapshot: Snapshot, *, log: logging.Logger
) -> tuple[PredictJob, Resume]:
    """Adopt what earlier attempts sealed with the same input, model, settings and code.

    Args:
        attempt: the new attempt, which adopts.
        job: the job of the new attempt, over all rows.
        earlier: the attempts to adopt from, the newest first.
        snapshot: the frozen list of the partition's shards.
        log: gets a line about what was adopted, and a warning for each segment that was refused.

    Returns:
        The job with the intervals of rows that are left to predict, and what was adopted.
    """
    from json2vec.predict.job import job_settings_digest
    from json2vec.rank_files.resume import resume

    resumed = resume(
        attempt.store,
        [previous.store for previous in earlier],
        rows=snapshot.rows,
        snapshot=snapshot.digest,
        settings=job_settings_digest(job),
        quarantine=job.on_bad_row == "quarantine",
    )
    for why in resumed.refused:
        log.warning(why)
    if resumed.adopted:
        names = sorted({segment.attempt for segment in resumed.adopted})
        log.info(
            f"adopted {len(resumed.adopted)} sealed segments with {resumed.adopted_rows:,} of {snapshot.rows:,} rows "
            f"from {', '.join(names)}; {snapshot.rows - resumed.adopted_rows:,} rows are left to predict"
        )
    return job.model_copy(update={"intervals": list(resumed.intervals)}), resumed


def commit_attempt(attempt: Attempt, job: PredictJob) -> Manifest:
    """Write the manifest once every rank has ended.

    Args:
        attempt: the attempt that the ranks worked on.
        job: the job that they ran.

    Raises:
        json2vec.errors.IncompletePredictions: a marker is missing or does not match the plan, or more rows were
            quarantined than ``job.max_rejected`` allows.
        RanksFailed: the ranks at fault have said why.
    """
    from json2vec.predict.job import plan_job
    from json2vec.rank_files.commit import commit_predictions
    from json2vec.rank_files.journal import read_adopted

    try:
        return commit_predictions(
            attempt.store,
            plan_job(job),
            attempt=attempt.name,
            settings=job.recorded(),
            adopted=read_adopted(attempt.store),
            max_rejected=job.max_rejected,
        )
    except IncompletePredictions as exc:
        errors = {rank: error for rank in exc.ranks if (error := error_of(attempt, rank))}
        if not errors:
            raise
        causes = "; ".join(f"rank {rank}: {error_words(error)}" for rank, error in errors.items())
        names = tuple(name for error in errors.values() for name in error_names(error))
        raise RanksFailed(f"{causes}. {exc}", ranks=exc.ranks, errors=names) from exc
