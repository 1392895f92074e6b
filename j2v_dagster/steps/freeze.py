"""The first steps: take a partition's snapshot, hash the checkpoint."""

from __future__ import annotations

import logging
import os

from j2v_dagster.shards.source import INPUTS_FILE, inputs_version, write_inputs
from j2v_dagster.steps.pipeline import Pipeline, checkpoint_sha256
from j2v_dagster.steps.result import Result, shards_result
from json2vec.errors import StoreError

_TRIES = 5


def freeze(pipeline: Pipeline, partition: str, log: logging.Logger) -> Result:
    """Take the partition's snapshot and keep it beside its attempts.

    Args:
        pipeline: the pipeline that the partition belongs to.
        partition: the partition's key.
        log: gets a line with the numbers of shards and rows.

    Raises:
        j2v_dagster.attempts.owner.NotTheOwner: the partition's output belongs to another pipeline.
        json2vec.errors.StoreError: another run froze the partition whenever this one did.
    """
    output = pipeline.output_of(partition)
    pipeline.claims.check(output)
    for _ in range(_TRIES):
        # A run that was paused after it had looked at the shards must not put its old list over a newer one.
        before = inputs_version(output.store)
        snapshot = pipeline.source.snapshot(partition)
        if write_inputs(output.store, snapshot, over=before):
            break
    else:
        raise StoreError(
            f"{output.store.uri(INPUTS_FILE)} was replaced by other runs {_TRIES} times while this one listed the "
            "shards; expected one run at a time. Remedy: materialize the partition again"
        )
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
