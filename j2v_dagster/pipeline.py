"""`build_prediction_pipeline`: the core under the Python API, the YAML file and the component.

input_shards[p], model_checkpoint -> prediction_rank_files[p] -> (blocking checks) -> predictions[p]
"""
# No `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import dagster as dg

from j2v_dagster.checks import ALL_FINDINGS, build_check_specs
from j2v_dagster.launchers.base import Launcher
from j2v_dagster.launchers.build import build_launcher
from j2v_dagster.partitions import build_partitions, check_template
from j2v_dagster.sensors import SensorOptions, build_shard_sensor
from j2v_dagster.shards import ShardSource
from j2v_dagster.steps import Pipeline
from j2v_dagster.translator import PredictionTranslator, Role
from j2v_dagster.warehouse.base import Warehouse
from j2v_dagster.warehouse.build import build_warehouse
from j2v_dagster.warehouse.columns import parse_columns
from json2vec.rank_files.rejected import MAX_REJECTED, check_max_rejected


def build_prediction_pipeline(
    *,
    name: str,
    inputs: str,
    partitions: Mapping[str, Any] | dg.PartitionsDefinition,
    checkpoint: str,
    output: str,
    warehouse: Warehouse | str | Mapping[str, Any],
    table: str,
    columns: Mapping[str, str],
    suffix: str = "parquet",
    folder: str = "dt={partition}",
    partition_column: str = "partition",
    ranks: int = 1,
    batch_size: int | None = None,
    accelerator: str = "cpu",
    precision: str = "32-true",
    threads: int | None = None,
    preprocessor: str | None = None,
    postprocessor: str | None = None,
    trusted_modules: Sequence[str] = (),
    keep_inputs: bool | Sequence[str] = True,
    reconstruct: Sequence[str] = (),
    segment_rows: int = 1_000_000,
    flush_every_n_batches: int | None = None,
    on_bad_row: Literal["raise", "quarantine"] = "raise",
    max_rejected: int | float = MAX_REJECTED,
    resume: bool = True,
    incremental: bool = False,
    rank_timeout_s: float = 600.0,
    min_free_bytes: int = 256 * 2**20,
    replay_sample: int = 64,
    require: Sequence[str] = ALL_FINDINGS,
    launcher: Launcher | str | Mapping[str, Any] | None = None,
    translator: PredictionTranslator | None = None,
    sensor_min_age_s: float = 60.0,
    sensor_marker: str | None = None,
    sensor_max_partitions: int = 20,
    sensor_interval_s: int = 30,
    storage_options: Mapping[str, Any] | None = None,
) -> dg.Definitions:
    """Assets, blocking checks, a job and a sensor for one model and one table. Nothing is read or started here.

    Args:
        name: letters, digits and underscores; the asset keys' prefix, the group, and the job's and sensor's name.
        inputs: root of all partitions, a local path or URI.
        partitions: a partitions definition, or plain values (see `j2v_dagster.partitions.build_partitions`).
        checkpoint: local path of the model's checkpoint.
        output: local folder for attempts; each partition gets a folder of its own.
        warehouse: path of a DuckDB file, a mapping of ``kind`` and options, or a `Warehouse`.
        table: the table's name, taken literally as one identifier.
        columns: path by column name (syntax: `j2v_dagster.warehouse.columns`).
        suffix: file format of the shards, one of `json2vec.enums.Suffix`.
        folder: template of a partition's folder below ``inputs`` and ``output``.
        partition_column: name of the table's text column that holds the partition key.
        ranks: processes that predict one partition.
        batch_size: rows a forward pass; default: the model's.
        accelerator: ``cpu``, ``gpu`` or another of Lightning's.
        precision: Lightning's precision of the forward pass, such as ``32-true`` or ``bf16-mixed``.
        threads: torch threads of each rank; default: CPUs over ranks.
        preprocessor: ``module:function`` that makes observations of rows; its module must be in ``trusted_modules``.
        postprocessor: ``module:function`` that makes columns of predictions; likewise.
        trusted_modules: modules that a job or a checkpoint may import.
        keep_inputs: whether rank files keep the rows as read: all columns, none, or these.
        reconstruct: addresses whose inputs are predicted as well.
        segment_rows: rows after which a rank seals a file and begins the next.
        flush_every_n_batches: batches in a row group; default: the writer's.
        on_bad_row: ``raise``, or ``quarantine``: a row that cannot be read or encoded goes to ``rejected-N.parquet``.
        max_rejected: how many rows may be quarantined before the run fails: a share of all input rows (a float from 0.0
            to 1.0) or a number of rows (an int). Rows that a preprocessor drops do not count.
        resume: adopt the segments that earlier failed attempts sealed, and predict only the rest.
        incremental: rows whose hash, model and settings are those of the partition's current attempt take their stored
            prediction; only the others are predicted.
        rank_timeout_s: seconds without progress after which a rank counts as hung and all ranks are ended.
        min_free_bytes: bytes that must be free on the output's disk beyond twice the input's.
        replay_sample: rows a partition predicted again by the checks; 0 leaves ``replay`` unproven and not required.
        require: findings that must be proven (see `j2v_dagster.checks`); one that failed always fails its check.
        launcher: ``torchrun`` (default), a mapping of ``kind`` and options, or a `Launcher`.
        translator: names, groups, owners, kinds and descriptions of the assets.
        sensor_min_age_s: seconds that a partition's newest shard must have rested.
        sensor_marker: name of a file in the partition's folder that says it is written, instead of the age.
        sensor_max_partitions: most runs one tick requests.
        sensor_interval_s: least seconds between two ticks.
        storage_options: options of the object store's client; never secrets, they are written into the job.

    Raises:
        ValueError: an option that cannot be meant; names it.
    """
    if not name.isidentifier():
        raise ValueError(f"pipeline name {name!r}: expected letters, digits and underscores, beginning with no digit")
    for option, value, least in (
        ("ranks", ranks, 1),
        ("replay_sample", replay_sample, 0),
        ("segment_rows", segment_rows, 1),
    ):
        if value < least:
            raise ValueError(f"pipeline {name!r}: {option} is {value}; expected at least {least}")
    if unknown := sorted(set(require) - set(ALL_FINDINGS)):
        raise ValueError(f"pipeline {name!r}: require names {unknown}; expected some of {list(ALL_FINDINGS)}")
    try:
        check_max_rejected(max_rejected)
    except ValueError as exc:
        raise ValueError(f"pipeline {name!r}: {exc}") from exc
    check_template(folder)
    options = dict(storage_options or {})
    pipeline = Pipeline(
        name=name,
        source=ShardSource(inputs=inputs, suffix=suffix, folder=folder, storage_options=options or None),
        partitions_def=build_partitions(partitions, name=name),
        checkpoint=os.path.abspath(os.path.expanduser(checkpoint)),
        output=os.path.abspath(os.path.expanduser(output)),
        warehouse=build_warehouse(warehouse),
        table=table,
        columns=parse_columns(columns, partition_column=partition_column),
        partition_column=partition_column,
        ranks=ranks,
        rank_timeout_s=rank_timeout_s,
        min_free_bytes=min_free_bytes,
        replay_sample=replay_sample,
        require=tuple(one for one in require if replay_sample or one != "replay"),
        launcher=build_launcher(launcher),
        translator=translator or PredictionTranslator(),
        resume=resume,
        incremental=incremental,
        job={
            "storage_options": options,
            "batch_size": batch_size,
            "accelerator": accelerator,
            "precision": precision,
            "threads": threads,
            "preprocessor": preprocessor,
            "postprocessor": postprocessor,
            "trusted_modules": list(trusted_modules),
            "inputs": keep_inputs if isinstance(keep_inputs, bool) else list(keep_inputs),
            "reconstruct": list(reconstruct),
            "segment_rows": segment_rows,
            "flush_every_n_batches": flush_every_n_batches,
            "on_bad_row": on_bad_row,
            "max_rejected": max_rejected,
        },
    )
    assets = _assets(pipeline)
    job = dg.define_asset_job(
        f"{name}_predict",
        selection=dg.AssetSelection.assets(*assets),
        description=f"One partition of {name}, from its shards to the table {table}.",
    )
    sensor_options = SensorOptions(sensor_min_age_s, sensor_marker, sensor_max_partitions, sensor_interval_s)
    sensor = build_shard_sensor(
        name=name, source=pipeline.source, partitions_def=pipeline.partitions_def, job=job, options=sensor_options
    )
    return dg.Definitions(assets=assets, asset_checks=[_checks(pipeline)], jobs=[job], sensors=[sensor])


def _assets(pipeline: Pipeline) -> list[Any]:
    def options(role: Role) -> dict[str, Any]:
        translator, source = pipeline.translator, pipeline.source
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
        }

    @dg.asset(**options("input_shards"))
    def input_shards(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return pipeline.freeze(context)

    @dg.asset(**options("model_checkpoint"))
    def model_checkpoint(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return pipeline.fingerprint(context)

    @dg.asset(
        **options("prediction_rank_files"),
        deps=[pipeline.key("input_shards"), pipeline.key("model_checkpoint")],
        code_version=settings_digest(pipeline.job),
    )
    def prediction_rank_files(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return pipeline.predict(context)

    @dg.asset(**options("predictions"), deps=[pipeline.key("prediction_rank_files")], pool=pipeline.warehouse.kind)
    def predictions(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return pipeline.load(context)

    return [input_shards, model_checkpoint, prediction_rank_files, predictions]


def _checks(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    specs = build_check_specs(pipeline.key("prediction_rank_files"), pipeline.partitions_def)

    @dg.multi_asset_check(name=f"{pipeline.name}_verify", specs=specs)
    def verify(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        yield from pipeline.verify(context)

    return verify


def settings_digest(job: Mapping[str, Any]) -> str:
    """A short digest of the settings that can change what is predicted: the rank files' code version. The checkpoint's
    and the shards' versions come from their own assets."""
    import hashlib
    import json

    kept = ("precision", "preprocessor", "postprocessor", "inputs", "reconstruct", "on_bad_row")
    text = json.dumps({name: job[name] for name in kept}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


OPTIONS = tuple(name for name in build_prediction_pipeline.__annotations__ if name != "return")
"""Names of the options of `build_prediction_pipeline`."""
