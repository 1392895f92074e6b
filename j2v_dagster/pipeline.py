"""`build_prediction_pipeline`: the core under the Python API, the YAML file and the component.

input_shards[p], model_checkpoint -> prediction_rank_files[p] -> (blocking checks) -> predictions[p]
"""
# No `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import dagster as dg

from j2v_dagster.assets import Behaviour, build_assets, build_checks
from j2v_dagster.automation import conditions, freshness_policy, retry_policy
from j2v_dagster.launchers.build import build_launcher
from j2v_dagster.options import OptionError, PipelineOptions, options
from j2v_dagster.sensors import SensorOptions, build_shard_sensor
from j2v_dagster.shards.partitions import build_partitions, check_folder
from j2v_dagster.shards.scanning import ScanOptions
from j2v_dagster.shards.source import ShardSource
from j2v_dagster.steps.contract import ContractOptions
from j2v_dagster.steps.pipeline import Pipeline
from j2v_dagster.translator import load_translator
from j2v_dagster.warehouse.build import build_warehouse
from j2v_dagster.warehouse.columns import parse_columns
from json2vec.storage.opening import absolute

P = ParamSpec("P")
R = TypeVar("R")


def _with_arguments_of(model: Callable[P, object]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Give a function the keyword arguments of ``model``: for type checkers, for `help` and for notebooks."""

    def decorate(function: Callable[..., R]) -> Callable[P, R]:
        known = [
            inspect.Parameter(
                one.name, inspect.Parameter.KEYWORD_ONLY, annotation=one.type,
                default=inspect.Parameter.empty if one.required else one.default,
            )
            for one in options()
        ]  # fmt: skip
        signature = inspect.signature(function)
        function.__signature__ = signature.replace(parameters=known)  # type: ignore[attr-defined]
        told = "\n".join(f"        {one.name}: {one.description}" for one in options())
        function.__doc__ = (function.__doc__ or "").replace("        See `PipelineOptions`.", told)
        return function

    return decorate


@_with_arguments_of(PipelineOptions)
def build_prediction_pipeline(**values: Any) -> dg.Definitions:
    """Assets, blocking checks, a job and a sensor for one model and one table. Nothing is read or started here.

    Args:
        See `PipelineOptions`.

    Raises:
        ValueError: an option that cannot be meant; names it.
    """
    return pipeline_definitions(PipelineOptions.of(values))


def pipeline_definitions(given: PipelineOptions) -> dg.Definitions:
    """What `build_prediction_pipeline` builds, of options that are checked already.

    Raises:
        ValueError: options that do not go together, or name something that is not there.
    """
    try:
        return _build(given)
    except ValueError as exc:
        if f"pipeline {given.name!r}" in str(exc):
            raise
        raise OptionError(f"pipeline {given.name!r}: {exc}") from exc


def _build(given: PipelineOptions) -> dg.Definitions:
    partitions_def = build_partitions(given.partitions, name=given.name)
    check_folder(given.folder, partitions_def, name=given.name)
    freshness = freshness_policy(given.freshness_fail_s, given.freshness_warn_s)
    pipeline = Pipeline(
        options=given,
        source=ShardSource(
            inputs=given.inputs, suffix=given.suffix, folder=given.folder,
            storage_options=dict(given.storage_options or {}) or None,
        ),
        partitions_def=partitions_def,
        checkpoint=absolute(given.checkpoint),
        output=absolute(given.output),
        scratch=None if given.scratch is None else absolute(given.scratch),
        warehouse=build_warehouse(given.warehouse),
        columns=parse_columns(given.columns, partition_column=given.partition_column),
        launcher=build_launcher(given.launcher),
        translator=load_translator(given.translator),
        contract=ContractOptions.of(given.contract, given.contract_sample, given.contract_limits),
    )  # fmt: skip
    pool = "gpu" if given.pool is None and given.accelerator != "cpu" else given.pool
    follow = conditions(given.automation, checkpoint=pipeline.key("model_checkpoint"))
    behaviour = Behaviour(
        single_run=given.backfill == "single_run",
        retries=given.retries,
        retry_policy=retry_policy(given.retries, given.retry_delay_s),
        predict={"automation_condition": follow.get("prediction_rank_files")},
        load={"automation_condition": follow.get("predictions"), "freshness_policy": freshness},
        pool=pool or None,
    )
    assets = build_assets(pipeline, behaviour)
    job = dg.define_asset_job(
        f"{given.name}_predict",
        selection=dg.AssetSelection.assets(*assets),
        description=f"One partition of {given.name}, from its shards to the table {given.table}.",
    )
    bounds = ScanOptions(
        given.sensor_min_age_s, given.sensor_marker, given.sensor_max_keys, given.sensor_max_partitions
    )
    sensor = build_shard_sensor(
        name=given.name,
        source=pipeline.source,
        partitions_def=partitions_def,
        job=job,
        selection=[pipeline.key("input_shards")] if given.sensor_target == "input_shards" else None,
        options=SensorOptions(bounds, given.sensor_interval_s, given.sensor_recent, given.sensor_status),
        shows=pipeline.shows,
    )
    return dg.Definitions(assets=assets, asset_checks=[build_checks(pipeline)], jobs=[job], sensors=[sensor])
