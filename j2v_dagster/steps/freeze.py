"""The first steps: take a partition's snapshot, hash the checkpoint."""

from __future__ import annotations

import logging
import os

from j2v_dagster.shards.source import write_inputs
from j2v_dagster.steps.pipeline import Pipeline, checkpoint_sha256
from j2v_dagster.steps.result import Result, shards_result


def freeze(pipeline: Pipeline, partition: str, log: logging.Logger) -> Result:
    """Take the partition's snapshot and keep it beside its attempts.

    Args:
        pipeline: the pipeline that the partition belongs to.
        partition: the partition's key.
        log: gets a line with the numbers of shards and rows.
    """
    snapshot = pipeline.source.snapshot(partition)
    write_inputs(pipeline.output_of(partition).store, snapshot)
    log.info(f"{snapshot.files.num_rows} shards with {snapshot.rows:,} rows in {snapshot.root}")
    return shards_result(snapshot, pipeline.source.uri(partition))


def fingerprint(pipeline: Pipeline) -> Result:
    """Hash the checkpoint."""
    local = pipeline.local_checkpoint()
    digest = checkpoint_sha256(local)
    return Result(
        data_version=digest,
        metadata={"dagster/uri": pipeline.checkpoint, "sha256": digest, "bytes": os.path.getsize(local)},
    )
