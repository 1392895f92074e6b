"""Load a checked attempt into the warehouse, then move the partition's pointer to it."""

from __future__ import annotations

import logging

from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.attempts.locks import PartitionLock, partition_lock
from j2v_dagster.attempts.sealed import SealedAttempt, require_verdict, seal
from j2v_dagster.shards.source import INPUTS_FILE, read_inputs
from j2v_dagster.steps.lineage import column_schema, table_lineage
from j2v_dagster.steps.pipeline import Pipeline
from j2v_dagster.steps.preview import Shown
from j2v_dagster.steps.result import Result
from j2v_dagster.warehouse.columns import Projection, project
from j2v_dagster.warehouse.fence import ATTEMPT_TAG, COUNTER, SEQUENCE
from json2vec.errors import IncompletePredictions
from json2vec.reading.snapshot import Snapshot


def load(
    pipeline: Pipeline, partition: str, run_id: str, log: logging.Logger, *, attempt: str | None = None
) -> Result:
    """Compare the files with the manifest again, replace the table's partition, then move the pointer.

    Args:
        pipeline: the pipeline that the partition belongs to.
        partition: the partition's key.
        run_id: the Dagster run whose attempt is loaded.
        log: gets a line with the numbers of rows.
        attempt: name of the attempt to load, be it older than the one that the table shows, or of other shards than
            the partition has now; default: the run's own, else the newest, which must be neither.

    Raises:
        json2vec.errors.IncompletePredictions: the attempt is not whole, its checks have not passed, or it is of another
            snapshot than the one that was frozen last.
        j2v_dagster.attempts.owner.NotTheOwner: the partition's output, or the attempt, belongs to another pipeline.
        j2v_dagster.warehouse.base.StaleLoad: the table shows a newer attempt.
        j2v_dagster.warehouse.base.WarehouseError: the warehouse refused the load.
    """
    output = pipeline.output_of(partition)
    # Table and pointer change together: of two loads the second waits, so that they never name different attempts.
    with partition_lock(output.store, f"run {run_id}", "load", wait_s=600.0) as lock:
        pipeline.claims.check(output)
        return _load(pipeline, output, run_id, lock, log, attempt)


def _load(
    pipeline: Pipeline,
    output: PartitionOutput,
    run_id: str,
    lock: PartitionLock,
    log: logging.Logger,
    told: str | None,
) -> Result:
    version_before = output.current_version()
    attempt = output.committed(run_id) if told is None else output.named(told)
    pipeline.claims.check_attempt(output, attempt)
    sealed = seal(attempt)
    require_verdict(sealed)
    if told is None:
        require_current_inputs(pipeline, output, sealed)
    # What is loaded on purpose becomes the newest, whatever it was; all else keeps its place.
    sequence = attempt.number if told is None else output.draw()
    manifest = sealed.manifest
    projection = projection_of(pipeline, sealed)
    roots = sorted({path.root for path in pipeline.columns.values()} & set(sealed.schema().names)) or ["source"]
    shown = Shown(pipeline.columns, projection.schema, pipeline.options.sample_rows)
    pipeline.claims.take(output, log)
    lock.check()
    loaded = pipeline.warehouse.replace_partition(
        table=pipeline.options.table,
        partition_column=pipeline.options.partition_column,
        partition=output.partition,
        schema=projection.schema,
        batches=shown.watch(projection.batches(sealed.batches(roots))),
        rows=manifest.rows,
        note={
            "attempt": sealed.attempt.name,
            "manifest_sha256": sealed.manifest_sha256,
            "model": manifest.model,
            SEQUENCE: str(sequence),
            COUNTER: output.counter_id(),
        },
    )
    output.publish(attempt, sealed.manifest_sha256, sequence=sequence, expected_version=version_before)
    log.info(f"{pipeline.options.table}: {loaded.replaced:,} rows replaced by {loaded.rows:,}")
    return Result(
        metadata={
            "dagster/partition_row_count": loaded.rows,
            "dagster/table_name": pipeline.options.table,
            "dagster/uri": pipeline.warehouse.uri(pipeline.options.table),
            "dagster/column_schema": column_schema(projection.schema),
            "dagster/column_lineage": table_lineage(pipeline.columns, rank_files=pipeline.key("prediction_rank_files")),
            "replaced_rows": loaded.replaced,
            "attempt": sealed.attempt.name,
            "manifest_sha256": sealed.manifest_sha256,
            "model": manifest.model,
            **shown.metadata(),
        },
    )


def require_current_inputs(pipeline: Pipeline, output: PartitionOutput, sealed: SealedAttempt) -> None:
    """Raise unless the attempt was made of the partition's snapshot of today.

    Raises:
        json2vec.errors.IncompletePredictions: it was made of another one.
    """
    asset = pipeline.key("input_shards").to_user_string()
    frozen = read_inputs(output.store, partition=output.partition, asset=asset)
    of = Snapshot.from_json(sealed.manifest.snapshot)
    if of.digest != frozen.digest:
        raise IncompletePredictions(
            f"attempt {sealed.attempt.uri} was made of snapshot {of.digest[:12]}... ({of.rows:,} rows); expected the "
            f"partition's own, {frozen.digest[:12]}... ({frozen.rows:,} rows, {output.store.uri(INPUTS_FILE)}). The "
            "table keeps its rows. Remedy: materialize prediction_rank_files of this partition again, or start the "
            f"load with the run tag {ATTEMPT_TAG}={sealed.attempt.name} to load these rows all the same"
        )


def projection_of(pipeline: Pipeline, sealed: SealedAttempt) -> Projection:
    """The table's columns, bound to the schema and the manifest of an attempt."""
    manifest = sealed.manifest
    constants = {
        "attempt": manifest.attempt,
        "model": manifest.model,
        "snapshot": Snapshot.from_json(manifest.snapshot).digest,
        "created": manifest.created.isoformat(),
    }
    return project(pipeline.columns, sealed.schema(), constants)
