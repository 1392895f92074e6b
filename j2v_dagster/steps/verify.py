"""Verify an attempt once, keep the verdict, give each check its findings."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

import dagster as dg

from j2v_dagster.attempts.sealed import write_verdict
from j2v_dagster.checks import check_results, incomplete_results, rejected_result
from j2v_dagster.steps.pipeline import Pipeline, checkpoint_sha256
from json2vec.errors import IncompletePredictions

if TYPE_CHECKING:
    from json2vec.model.model import Model


def verify(pipeline: Pipeline, partition: str, run_id: str, log: logging.Logger) -> list[dg.AssetCheckResult]:
    """Verify the partition's attempt once, write the verdict beside it, and give each check its findings.

    Args:
        pipeline: the pipeline that the partition belongs to.
        partition: the partition's key.
        run_id: the Dagster run whose attempt is verified.
        log: gets the verification's summary.

    Returns:
        One result for each blocking check, then those of the two checks that only warn.

    Raises:
        j2v_dagster.attempts.owner.NotTheOwner: the partition's output, or its attempt, belongs to another pipeline.
    """
    from json2vec.verify.verify import verify_predictions

    asset = pipeline.key("prediction_rank_files")
    output = pipeline.output_of(partition)
    pipeline.claims.check(output)
    attempt = output.committed(run_id)
    pipeline.claims.check_attempt(output, attempt)
    try:
        report = verify_predictions(
            attempt.store,
            inputs=pipeline.source.uri(partition),
            model=_model(pipeline) if {"schema", "values", "replay"} & set(pipeline.require) else None,
            require=pipeline.require,
            sample=pipeline.options.replay_sample,
            source_sample=pipeline.options.source_sample,
            storage_options=pipeline.source.storage_options,
            trusted_modules=pipeline.settings.trusted_modules,
            settings=pipeline.settings.recorded(),
        )
    except IncompletePredictions as exc:
        results = list(incomplete_results(str(exc), asset=asset))
    else:
        log.info(report.summary())
        results = list(check_results(report, asset=asset, require=pipeline.require))
    verdicts = {str(result.check_name): result.passed for result in results}
    write_verdict(attempt, passed=all(verdicts.values()), checks=verdicts)
    drift = pipeline.contract.drift_result(
        pipeline.local_checkpoint(), attempt.store, pipeline.source.store(partition), pipeline.settings, asset=asset
    )
    return [*results, rejected_result(attempt.store, asset=asset), drift]


def _model(pipeline: Pipeline) -> Model:
    local = pipeline.local_checkpoint()
    return _load_model(str(local), checkpoint_sha256(local), tuple(pipeline.settings.trusted_modules))


@lru_cache(maxsize=1)
def _load_model(path: str, sha256: str, trusted_modules: tuple[str, ...]) -> Model:
    """The checkpoint's model, loaded once for all partitions of a run."""
    from json2vec.model.model import Model

    return Model.load(path, trusted_modules=trusted_modules)
