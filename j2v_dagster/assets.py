"""The assets and checks of a pipeline: what Dagster sees of its steps.

input_shards[p], model_checkpoint -> prediction_rank_files[p] -> (blocking checks) -> predictions[p]
"""
# No `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from j2v_dagster.automation import no_retry_of_permanent_errors
from j2v_dagster.backfill import STEPS, build_single_run
from j2v_dagster.checks import build_check_specs
from j2v_dagster.steps.freeze import fingerprint, freeze
from j2v_dagster.steps.load import load
from j2v_dagster.steps.pipeline import Pipeline
from j2v_dagster.steps.predict import predict
from j2v_dagster.steps.result import Result
from j2v_dagster.steps.verify import verify
from j2v_dagster.translator import Role
from j2v_dagster.warehouse.columns import ColumnPath
from j2v_dagster.warehouse.fence import ATTEMPT_TAG


@dataclass(frozen=True)
class Behaviour:
    """How Dagster runs the steps.

    Attributes:
        single_run: one step for any number of partitions, instead of one partition a run.
        retries, retry_policy: tries of predicting and loading after the first.
        predict, load: further options of `prediction_rank_files` and of `predictions`.
        pool: that predicting takes a slot of.
    """

    single_run: bool = False
    retries: int = 0
    retry_policy: dg.RetryPolicy | None = None
    predict: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)
    pool: str | None = None


def build_assets(pipeline: Pipeline, behaviour: Behaviour) -> list[Any]:
    """The four assets; with ``single_run`` the partitioned ones are made by one step."""
    options = {role: _options(pipeline, behaviour, role) for role in (*STEPS, "model_checkpoint")}

    def model_checkpoint(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return _materialize(fingerprint(pipeline))

    if behaviour.single_run:
        # Dagster's command line takes a range of partitions only where every asset that it selects has the policy.
        single: dict[str, Any] = {"backfill_policy": dg.BackfillPolicy.single_run()}
        spec = dg.AssetSpec(**options["model_checkpoint"])
        checkpoint = dg.multi_asset(name="__".join(spec.key.path), specs=[spec], **single)(model_checkpoint)
        specs = [dg.AssetSpec(**options[role]) for role in STEPS]
        step = {"retry_policy": behaviour.retry_policy, "pool": behaviour.pool or pipeline.warehouse.kind}
        return [checkpoint, build_single_run(pipeline, specs, retries=behaviour.retries, **step)]

    checkpoint = dg.asset(**options["model_checkpoint"])(model_checkpoint)

    @dg.asset(**options["input_shards"])
    def input_shards(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return _materialize(freeze(pipeline, context.partition_key, context.log))

    @dg.asset(**options["prediction_rank_files"], retry_policy=behaviour.retry_policy, pool=behaviour.pool)
    def prediction_rank_files(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with no_retry_of_permanent_errors(behaviour.retries):
            return _materialize(predict(pipeline, context.partition_key, context.run.run_id, context.log))

    @dg.asset(**options["predictions"], retry_policy=behaviour.retry_policy, pool=pipeline.warehouse.kind)
    def predictions(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with no_retry_of_permanent_errors(behaviour.retries):
            attempt = context.run.tags.get(ATTEMPT_TAG)
            return _materialize(
                load(pipeline, context.partition_key, context.run.run_id, context.log, attempt=attempt)
            )

    return [input_shards, checkpoint, prediction_rank_files, predictions]


def build_checks(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    """The checks of `prediction_rank_files`, one partition at a time."""
    specs = build_check_specs(pipeline.key("prediction_rank_files"), pipeline.partitions_def)

    @dg.multi_asset_check(name=f"{pipeline.name}_verify", specs=specs)
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        yield from verify(pipeline, context.partition_key, context.run.run_id, context.log)

    return checks


def _options(pipeline: Pipeline, behaviour: Behaviour, role: Role) -> dict[str, Any]:
    translator, source = pipeline.translator, pipeline.source
    deps: dict[Role, dict[str, Any]] = {
        "prediction_rank_files": {
            "deps": [pipeline.key("input_shards"), pipeline.key("model_checkpoint")],
            "code_version": pipeline.settings.code_version(),
            **behaviour.predict,
        },
        "predictions": {
            "deps": [pipeline.key("prediction_rank_files")],
            "code_version": columns_digest(pipeline.columns, pipeline.options.partition_column),
            **behaviour.load,
        },
    }
    return {
        "key": pipeline.key(role),
        "group_name": translator.group(pipeline.name, role),
        "owners": list(translator.owners(pipeline.name, role)) or None,
        "kinds": translator.kinds(
            pipeline.name, role, inputs=source.inputs, suffix=source.suffix, warehouse=pipeline.warehouse.kind
        ),
        "description": translator.description(pipeline.name, role),
        "tags": translator.tags(pipeline.name, role),
        # No backfill policy means one partition a run, and it must stay so: a run over a range would record
        # partitioned checks without their partition.
        "partitions_def": None if role == "model_checkpoint" else pipeline.partitions_def,
        **deps.get(role, {}),
    }


def _materialize(result: Result) -> dg.MaterializeResult:
    version = None if result.data_version is None else dg.DataVersion(result.data_version)
    return dg.MaterializeResult(metadata=result.metadata, data_version=version)


def columns_digest(columns: Mapping[str, ColumnPath], partition_column: str) -> str | None:
    """A short digest of the table's columns: its code version. None where a column differs from run to run: then each
    load is a new version."""
    if any(path.parts in (("manifest", "attempt"), ("manifest", "created")) for path in columns.values()):
        return None
    return _short_digest({partition_column: "", **{name: path.text for name, path in columns.items()}})


def _short_digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
