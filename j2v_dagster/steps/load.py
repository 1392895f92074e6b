"""Load a checked attempt into the warehouse, then move the partition's pointer to it."""

from __future__ import annotations

import logging

from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.attempts.locks import PartitionLock, partition_lock
from j2v_dagster.attempts.sealed import SealedAttempt, require_verdict, seal
from j2v_dagster.steps.lineage import column_schema, table_lineage
from j2v_dagster.steps.pipeline import Pipeline
from j2v_dagster.steps.preview import Shown
from j2v_dagster.steps.result import Result
from j2v_dagster.warehouse.columns import Projection, project
from json2vec.reading.snapshot import Snapshot


def load(pipeline: Pipeline, partition: str, run_id: str, log: logging.Logger) -> Result:
    """Compare the files with the manifest again, replace the table's partition, then move the pointer.

    Args:
        pipeline: the pipeline that the partition belongs to.
        partition: the partition's key.
        run_id: the Dagster run whose attempt is loaded.
        log: gets a line with the numbers of rows.

    Raises:
        json2vec.errors.IncompletePredictions: the attempt is not whole, or its checks have not passed.
        j2v_dagster.warehouse.base.WarehouseError: the warehouse refused the load.
    """
    output = pipeline.output_of(partition)
    # Table and pointer change together: of two loads the second waits, so that they never name different attempts.
    with partition_lock(output.store, f"run {run_id}", "load", wait_s=600.0) as lock:
        return _load(pipeline, output, run_id, lock, log)


def _load(
    pipeline: Pipeline, output: PartitionOutput, run_id: str, lock: PartitionLock, log: logging.Logger
) -> Result:
    version_before = output.current_version()
    sealed = seal(output.committed(run_id))
    require_verdict(sealed)
    manifest = sealed.manifest
    projection = projection_of(pipeline, sealed)
    roots = sorted({path.root for path in pipeline.columns.values()} & set(sealed.schema().names)) or ["source"]
    shown = Shown(pipeline.columns, projection.schema, pipeline.options.sample_rows)
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
        },
    )
    output.publish(sealed.attempt, sealed.manifest_sha256, expected_version=version_before)
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
