"""Backfills in a single run: the ranks start once for many partitions, and each partition still gets its own files,
checks, metadata and status.

Dagster records a range run's checks without a partition, materializes every partition of the range or none, and skips
what lies downstream of an asset that a step left out. So one step does all the work and reports each partition by
itself: a materialization with the partition's own data version and inputs, and an evaluation of each check. Partitions
that failed are not materialized, and the run fails at its end with an error that names them.
"""
# No `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from j2v_dagster.attempts.folder import is_of_run
from j2v_dagster.automation import may_pass
from j2v_dagster.checks import build_check_specs
from j2v_dagster.compat import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    compute_logical_data_version,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from j2v_dagster.steps.freeze import freeze
from j2v_dagster.steps.load import load
from j2v_dagster.steps.pipeline import Pipeline
from j2v_dagster.steps.predict_many import predict_many
from j2v_dagster.steps.result import Result
from j2v_dagster.steps.verify import verify
from j2v_dagster.translator import Role
from j2v_dagster.warehouse.fence import ATTEMPT_TAG
from json2vec.errors import Json2VecError

MAX_NAMED = 20
STEPS: tuple[Role, ...] = ("input_shards", "prediction_rank_files", "predictions")


class NoPartitions(Json2VecError, ValueError):
    """A run that is over no partition at all; the message names the range that it was started with."""


class PartitionsFailed(Json2VecError):
    """Partitions of a backfill that did not get to their end; the message names each with its error."""


def build_single_run(
    pipeline: Pipeline, specs: Sequence[dg.AssetSpec], *, retries: int = 0, **options: Any
) -> dg.AssetsDefinition:
    """The partitioned assets of a pipeline as one step over any number of partitions.

    Args:
        specs: of `STEPS`, with their dependencies and partitions.
        retries: tries of the step after the first; one works on what failed before and may yet succeed.
        options: of the step: pool, retry policy.
    """
    blocking = {
        spec.name: bool(spec.blocking)
        for spec in build_check_specs(pipeline.key("prediction_rank_files"), pipeline.partitions_def)
    }

    @dg.multi_asset(
        name=f"{pipeline.name}_partitions",
        # Skippable, since nothing is yielded: partitions are reported one by one.
        specs=[spec.replace_attributes(skippable=True) for spec in specs],
        partitions_def=pipeline.partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
        **options,
    )
    def partitions(context: dg.AssetExecutionContext) -> Iterator[Any]:
        try:
            over = some_partitions(context)
        except NoPartitions as exc:
            raise dg.Failure(description=f"NoPartitions: {exc}", allow_retries=False) from exc
        run = _Run(pipeline, context, over, {spec.key: spec for spec in specs}, blocking)
        run.all_steps()
        run.raise_if_failed(retries)
        yield from ()

    return partitions


def some_partitions(context: dg.AssetExecutionContext) -> Sequence[str]:
    """The partitions of the run.

    Raises:
        NoPartitions: there is none, as in a range with its ends exchanged. Dagster would call such a run a success.
    """
    if context.partition_keys:
        return context.partition_keys
    tags = context.run.tags
    first, last = tags.get(ASSET_PARTITION_RANGE_START_TAG), tags.get(ASSET_PARTITION_RANGE_END_TAG)
    raise NoPartitions(
        f"this run is over no partition: its range is from {first!r} to {last!r}; expected one partition or more. "
        "Nothing was done. Remedy: exchange the ends, or name partitions that there are"
    )


class _Run:
    """One run over many partitions: who is still in the race, and why the others are not."""

    def __init__(
        self,
        pipeline: Pipeline,
        context: dg.AssetExecutionContext,
        partitions: Sequence[str],
        specs: Mapping[dg.AssetKey, dg.AssetSpec],
        blocking: Mapping[str, bool],
    ) -> None:
        self.pipeline, self.context, self.specs, self.blocking = pipeline, context, specs, blocking
        self.log: logging.Logger = context.log
        self.remaining = [
            partition
            for partition in partitions
            if not (context.retry_number and self._loaded(partition))
        ]
        self.failed: dict[str, str] = {}
        self._passing = False  # whether trying again may mend any of them

    def _loaded(self, partition: str) -> bool:
        """Whether an earlier try of this very run has loaded the partition."""
        current = self.pipeline.output_of(partition).current()
        return current is not None and is_of_run(current["attempt"], self.context.run.run_id)

    def all_steps(self) -> None:
        """Those of `STEPS` that the run selects, each over all partitions that got so far."""
        run_id, pipeline = self.context.run.run_id, self.pipeline
        selected = self.context.selected_asset_keys
        if pipeline.key("input_shards") in selected:
            for partition in list(self.remaining):
                self._try("input_shards", partition, lambda key: freeze(pipeline, key, self.log))
        if pipeline.key("prediction_rank_files") in selected:
            for partition, outcome in predict_many(pipeline, list(self.remaining), run_id, self.log):
                self._settle("prediction_rank_files", partition, outcome)
            for partition in list(self.remaining):
                self._verify(partition)
        if pipeline.key("predictions") in selected:
            told = self.context.run.tags.get(ATTEMPT_TAG)
            for partition in list(self.remaining):
                self._try("predictions", partition, lambda key: load(pipeline, key, run_id, self.log, attempt=told))

    def _try(self, role: Role, partition: str, work: Any) -> None:
        try:
            outcome = work(partition)
        except Exception as exc:  # the others go on; the run fails at its end with every message
            outcome = exc
        self._settle(role, partition, outcome)

    def _settle(self, role: Role, partition: str, outcome: Result | Exception) -> None:
        if isinstance(outcome, Exception):
            self._fail(partition, f"{role}: {type(outcome).__name__}: {outcome}", outcome)
            return
        key = self.pipeline.key(role)
        tags = self._versions(self.specs[key], partition, outcome)
        self.context.log_event(
            dg.AssetMaterialization(key, partition=partition, metadata=outcome.metadata, tags=tags)
        )

    def _verify(self, partition: str) -> None:
        try:
            results = verify(self.pipeline, partition, self.context.run.run_id, self.log)
        except Exception as exc:
            self._fail(partition, f"checks: {type(exc).__name__}: {exc}", exc)
            return
        for result in results:
            assert result.asset_key is not None
            assert result.check_name is not None
            evaluation = dg.AssetCheckEvaluation(
                asset_key=result.asset_key, check_name=result.check_name, passed=result.passed,
                severity=result.severity, metadata=result.metadata, description=result.description,
                partition=partition, blocking=self.blocking[result.check_name],
            )  # fmt: skip
            # Not `report_runless_asset_event`: storage takes one evaluation a partition without a run, ever. This one
            # belongs to the run. `log_event` stores evaluations too; only its annotation leaves them out.
            self.context.log_event(evaluation)  # pyright: ignore[reportArgumentType]
        bad = [f"{result.check_name}: {result.description}" for result in results
               if not result.passed and self.blocking[str(result.check_name)]]  # fmt: skip
        if bad:
            self._fail(partition, f"blocking checks failed: {'; '.join(bad)}")

    def _versions(self, spec: dg.AssetSpec, partition: str, result: Result) -> dict[str, str]:
        """The tags with which Dagster itself would record this partition's data version and inputs."""
        code = spec.code_version or self.context.run.run_id
        inputs: dict[dg.AssetKey, Any] = {}
        tags = {CODE_VERSION_TAG: code}
        for upstream in (dep.asset_key for dep in spec.deps):
            unpartitioned = upstream == self.pipeline.key("model_checkpoint")
            record = self.context.instance.get_latest_data_version_record(
                upstream, partition_key=None if unpartitioned else partition
            )
            version = extract_data_version_from_entry(record.event_log_entry) if record else None
            inputs[upstream] = version or DEFAULT_DATA_VERSION
            tags[get_input_data_version_tag(upstream)] = inputs[upstream].value
            tags[get_input_event_pointer_tag(upstream)] = str(record.storage_id) if record else NULL_EVENT_POINTER
        if result.data_version is None:
            return {**tags, DATA_VERSION_TAG: compute_logical_data_version(code, inputs).value}
        return {**tags, DATA_VERSION_TAG: result.data_version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}

    def _fail(self, partition: str, why: str, error: Exception | None = None) -> None:
        self.failed[partition] = why
        self._passing |= error is not None and may_pass(error)
        self.remaining.remove(partition)
        self.log.error(f"partition {partition}: {why}")

    def raise_if_failed(self, retries: int) -> None:
        """Raise `PartitionsFailed` naming each partition that failed, its step and its error; where trying again is in
        vain for all of them, so that Dagster does not try again."""
        if not self.failed:
            return
        named = [f"{partition}: {why}" for partition, why in list(self.failed.items())[:MAX_NAMED]]
        more = f"\nand {len(self.failed) - MAX_NAMED} more, see the run's log" if len(self.failed) > MAX_NAMED else ""
        total = len(self.failed) + len(self.remaining)
        error = PartitionsFailed(
            f"{len(self.failed)} of {total} partitions failed; the other {len(self.remaining)} are done, and the table "
            "keeps the failed ones' old rows. Remedy: mend the causes and materialize the failed partitions again.\n"
            + "\n".join(named)
            + more
        )
        if retries and not self._passing:
            raise dg.Failure(description=f"PartitionsFailed: {error}", allow_retries=False) from error
        raise error
