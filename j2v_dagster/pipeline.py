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
from j2v_dagster.options import OptionError, PipelineOptions
from j2v_dagster.options import options as known_options
from j2v_dagster.sensors import SensorOptions, build_shard_sensor
from j2v_dagster.shards.keys import check_folder
from j2v_dagster.shards.partitions import build_partitions
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
        parameters = [
            inspect.Parameter(
                option.name, inspect.Parameter.KEYWORD_ONLY, annotation=option.type,
                default=inspect.Parameter.empty if option.required else option.default,
            )
            for option in known_options()
        ]  # fmt: skip
        signature = inspect.signature(function)
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        descriptions = "\n".join(f"        {option.name}: {option.description}" for option in known_options())
        function.__doc__ = (function.__doc__ or "").replace("        See `PipelineOptions`.", descriptions)
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


def pipeline_definitions(options: PipelineOptions) -> dg.Definitions:
    """What `build_prediction_pipeline` builds, of options that are checked already.

    Raises:
        ValueError: options that do not go together, or name something that is not there.
    """
    try:
        return _build(options)
    except ValueError as exc:
        if f"pipeline {options.name!r}" in str(exc):
            raise
        raise OptionError(f"pipeline {options.name!r}: {exc}") from exc


def _build(options: PipelineOptions) -> dg.Definitions:
    partitions_def = build_partitions(options.partitions, name=options.name)
    check_folder(options.folder, partitions_def, name=options.name)
    freshness = freshness_policy(options.freshness_fail_s, options.freshness_warn_s)
    pipeline = Pipeline(
        options=options,
        source=ShardSource(
            inputs=options.inputs, suffix=options.suffix, folder=options.folder,
            storage_options=dict(options.storage_options or {}) or None, read_options=options.reading(),
            lake_tables=options.lake_tables,
        ),
        partitions_def=partitions_def,
        checkpoint=absolute(options.checkpoint),
        output=absolute(options.output),
        scratch=None if options.scratch is None else absolute(options.scratch),
        warehouse=build_warehouse(options.warehouse),
        columns=parse_columns(options.columns, partition_column=options.partition_column),
        launcher=build_launcher(options.launcher),
        translator=load_translator(options.translator),
        contract=ContractOptions.of(options.contract, options.contract_sample, options.contract_limits),
    )  # fmt: skip
    pool = "gpu" if options.pool is None and options.accelerator != "cpu" else options.pool
    follow = conditions(options.automation, checkpoint=pipeline.key("model_checkpoint"))
    behaviour = Behaviour(
        single_run=options.backfill == "single_run",
        retries=options.retries,
        retry_policy=retry_policy(options.retries, options.retry_delay_s),
        predict={"automation_condition": follow.get("prediction_rank_files")},
        load={"automation_condition": follow.get("predictions"), "freshness_policy": freshness},
        pool=pool or None,
    )
    assets = build_assets(pipeline, behaviour)
    job = dg.define_asset_job(
        f"{options.name}_predict",
        selection=dg.AssetSelection.assets(*assets),
        description=f"One partition of {options.name}, from its shards to the table {options.table}.",
    )
    bounds = ScanOptions(
        options.sensor_min_age_s, options.sensor_marker, options.sensor_max_keys, options.sensor_max_partitions
    )
    sensor = build_shard_sensor(
        name=options.name,
        source=pipeline.source,
        partitions_def=partitions_def,
        job=job,
        selection=[pipeline.key("input_shards")] if options.sensor_target == "input_shards" else None,
        options=SensorOptions(bounds, options.sensor_interval_s, options.sensor_recent, options.sensor_status),
        shows=pipeline.shows,
    )
    return dg.Definitions(assets=assets, asset_checks=[build_checks(pipeline)], jobs=[job], sensors=[sensor])
