"""`build_prediction_pipeline`: the core under the Python API, the YAML file and the component.

input_shards[p], model_checkpoint -> prediction_rank_files[p] -> (blocking checks) -> predictions[p]
"""
# No `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import dagster as dg

from j2v_dagster.assets import Behaviour, build_assets, build_checks
from j2v_dagster.automation import Automation, conditions, freshness_policy, retry_policy
from j2v_dagster.checks import ALL_FINDINGS
from j2v_dagster.launchers.base import Launcher
from j2v_dagster.launchers.build import build_launcher
from j2v_dagster.sensors import SensorOptions, build_shard_sensor
from j2v_dagster.shards.partitions import build_partitions, check_folder
from j2v_dagster.shards.scanning import ScanOptions
from j2v_dagster.shards.source import ShardSource
from j2v_dagster.steps.contract import ContractOptions
from j2v_dagster.steps.pipeline import Pipeline
from j2v_dagster.translator import PredictionTranslator
from j2v_dagster.warehouse.base import Warehouse
from j2v_dagster.warehouse.build import build_warehouse
from j2v_dagster.warehouse.columns import parse_columns
from json2vec.contract import SAMPLE_ROWS
from json2vec.rank_files.rejected import MAX_REJECTED, check_max_rejected
from json2vec.storage.s3 import SECRET_OPTIONS


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
    backfill: Literal["per_partition", "single_run"] = "per_partition",
    incremental: bool = False,
    rank_timeout_s: float = 600.0,
    min_free_bytes: int = 256 * 2**20,
    contract: Literal["raise", "warn", "off"] = "raise",
    contract_sample: int = SAMPLE_ROWS,
    contract_limits: Mapping[str, Any] | None = None,
    replay_sample: int = 64,
    require: Sequence[str] = ALL_FINDINGS,
    sample_rows: int = 5,
    launcher: Launcher | str | Mapping[str, Any] | None = None,
    translator: PredictionTranslator | None = None,
    sensor_min_age_s: float = 60.0,
    sensor_marker: str | None = None,
    sensor_max_partitions: int = 20,
    sensor_max_keys: int = 20_000,
    sensor_recent: int = 3,
    sensor_interval_s: int = 30,
    sensor_target: Literal["table", "input_shards"] = "table",
    sensor_status: Literal["stopped", "running"] = "stopped",
    automation: Automation = "table",
    freshness_fail_s: float | None = None,
    freshness_warn_s: float | None = None,
    retries: int = 0,
    retry_delay_s: float = 30.0,
    pool: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    scratch: str | None = None,
) -> dg.Definitions:
    """Assets, blocking checks, a job and a sensor for one model and one table. Nothing is read or started here.

    Args:
        name: letters, digits and underscores; the asset keys' prefix, the group, and the job's and sensor's name.
        inputs: root of all partitions, a local path or URI.
        partitions: a partitions definition, or plain values (see `j2v_dagster.shards.partitions.build_partitions`).
        checkpoint: path or URI of the model's checkpoint.
        output: folder for attempts, a local path or an ``s3://`` URI; each partition gets a folder of its own.
        warehouse: path of a DuckDB file, a mapping of ``kind`` and options, or a `Warehouse`.
        table: the table's name, taken literally as one identifier.
        columns: path by column name (syntax: `j2v_dagster.warehouse.columns`).
        suffix: file format of the shards, one of `json2vec.enums.Suffix`.
        folder: template of a partition's folder below ``inputs`` and ``output``; with date parts, such as
            ``{partition:%Y/%m/%d}``, below ``inputs`` only.
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
        backfill: ``per_partition`` runs one partition a run; ``single_run`` any number in one run, whose ranks start
            once (see `j2v_dagster.backfill`).
        incremental: rows whose hash, model and settings are those of the partition's current attempt take their stored
            prediction; only the others are predicted.
        rank_timeout_s: seconds without progress after which a rank counts as hung and all ranks are ended.
        min_free_bytes: bytes that must be free on the output's disk beyond twice the input's.
        contract: what happens where a partition's shards are not what the model was trained on (docs/contract.md):
            ``raise`` before any rank starts, ``warn``, or ``off``.
        contract_sample: rows of a partition that are read for it, and for the check on drift; 0 compares schemas alone.
        contract_limits: a pair (warning, error) of shares from 0.0 to 1.0 by the name of a rate, and ``ignore``, a list
            of columns (see `json2vec.contract.Limits`).
        replay_sample: rows a partition predicted again by the checks; 0 leaves ``replay`` unproven and not required.
        require: findings that must be proven (see `j2v_dagster.checks`); one that failed always fails its check.
        sample_rows: rows of the table that the UI shows with each load; 0 shows none.
        launcher: ``torchrun`` (default), a mapping of ``kind`` and options, or a `Launcher`.
        translator: names, groups, owners, kinds and descriptions of the assets.
        sensor_min_age_s: seconds that a partition's newest shard must have rested.
        sensor_marker: name of a file in the partition's folder that says at once that it is written; shards newer than
            it wait for the age.
        sensor_max_partitions: most runs one tick requests.
        sensor_max_keys: files one tick lists; the folder that reaches it is still read to its end.
        sensor_recent: newest partitions of a daily or hourly definition that every tick looks at first.
        sensor_interval_s: least seconds between two ticks.
        sensor_target: what a requested run materializes: all of it to the ``table``, or ``input_shards`` alone, which
            makes the partition stale and leaves the rest to automation.
        sensor_status: ``stopped`` until somebody switches it on, or ``running`` from the start.
        automation: what Dagster's automation sensor, once it is switched on, does by itself: ``table`` loads rank files
            whose blocking checks passed, ``all`` also predicts new snapshots, ``off`` nothing.
        freshness_fail_s: seconds since the last load after which the table's freshness fails; default: no policy.
        freshness_warn_s: seconds since the last load after which it warns; less than ``freshness_fail_s``.
        retries: tries that a run gives predicting and loading after the first, where another try may help.
        retry_delay_s: seconds before the first of them; each further one waits twice as long.
        pool: pool that predicting takes a slot of; default: ``gpu``, but none with ``accelerator="cpu"``; an empty text
            means none.
        storage_options: options of the object store's client, for inputs, output and checkpoint; never secrets, they
            are written into the job.
        scratch: local folder for what does not lie in the object store yet: logs, open segments, copies of the
            checkpoint. Default: ``J2V_SCRATCH``, else a folder below the system's for temporary files.

    Raises:
        ValueError: an option that cannot be meant; names it.
    """
    if not name.isidentifier():
        raise ValueError(f"pipeline name {name!r}: expected letters, digits and underscores, beginning with no digit")
    for option, value, least in (
        ("ranks", ranks, 1),
        ("replay_sample", replay_sample, 0),
        ("sample_rows", sample_rows, 0),
        ("segment_rows", segment_rows, 1),
        ("sensor_max_partitions", sensor_max_partitions, 1),
        ("sensor_max_keys", sensor_max_keys, 1),
        ("sensor_recent", sensor_recent, 0),
        ("retries", retries, 0),
        ("retry_delay_s", retry_delay_s, 0),
    ):
        if value < least:
            raise ValueError(f"pipeline {name!r}: {option} is {value}; expected at least {least}")
    for option, word, words in (
        ("sensor_target", sensor_target, ("table", "input_shards")),
        ("sensor_status", sensor_status, ("stopped", "running")),
        ("automation", automation, ("off", "table", "all")),
    ):
        if word not in words:
            raise ValueError(f"pipeline {name!r}: {option} is {word!r}; expected one of {', '.join(words)}")
    if unknown := sorted(set(require) - set(ALL_FINDINGS)):
        raise ValueError(f"pipeline {name!r}: require names {unknown}; expected some of {list(ALL_FINDINGS)}")
    if backfill not in ("per_partition", "single_run"):
        raise ValueError(f"pipeline {name!r}: backfill is {backfill!r}; expected per_partition or single_run")
    try:
        check_max_rejected(max_rejected)
    except ValueError as exc:
        raise ValueError(f"pipeline {name!r}: {exc}") from exc
    try:
        freshness = freshness_policy(freshness_fail_s, freshness_warn_s)
    except ValueError as exc:
        raise ValueError(f"pipeline {name!r}: {exc}") from exc
    try:
        contract_options = ContractOptions.of(contract, contract_sample, contract_limits)
    except ValueError as exc:
        raise ValueError(f"pipeline {name!r}: {exc}") from exc
    partitions_def = build_partitions(partitions, name=name)
    check_folder(folder, partitions_def, name=name)
    options = dict(storage_options or {})
    if secret := sorted(set(options) & SECRET_OPTIONS):
        raise ValueError(
            f"pipeline {name!r}: storage_options holds {secret}; expected no credentials, since the options are "
            "written into jobs. Remedy: give credentials through the AWS chain (environment, profile, instance role)"
        )
    if "@" in str(options.get("endpoint_url", "")):
        raise ValueError(f"pipeline {name!r}: endpoint_url holds credentials. Remedy: give them through the AWS chain")
    pipeline = Pipeline(
        name=name,
        source=ShardSource(inputs=inputs, suffix=suffix, folder=folder, storage_options=options or None),
        partitions_def=partitions_def,
        checkpoint=_absolute(checkpoint),
        output=_absolute(output),
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
        scratch=None if scratch is None else _absolute(scratch),
        contract=contract_options,
        incremental=incremental,
        sample_rows=sample_rows,
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
    if pool is None and accelerator != "cpu":
        pool = "gpu"
    follow = conditions(automation, checkpoint=pipeline.key("model_checkpoint"))
    behaviour = Behaviour(
        single_run=backfill == "single_run",
        retries=retries,
        retry_policy=retry_policy(retries, retry_delay_s),
        predict={"automation_condition": follow.get("prediction_rank_files")},
        load={"automation_condition": follow.get("predictions"), "freshness_policy": freshness},
        pool=pool or None,
    )
    assets = build_assets(pipeline, behaviour)
    job = dg.define_asset_job(
        f"{name}_predict",
        selection=dg.AssetSelection.assets(*assets),
        description=f"One partition of {name}, from its shards to the table {table}.",
    )
    bounds = ScanOptions(sensor_min_age_s, sensor_marker, sensor_max_keys, sensor_max_partitions)
    sensor = build_shard_sensor(
        name=name,
        source=pipeline.source,
        partitions_def=pipeline.partitions_def,
        job=job,
        selection=[pipeline.key("input_shards")] if sensor_target == "input_shards" else None,
        options=SensorOptions(bounds, sensor_interval_s, sensor_recent, sensor_status),
        shows=pipeline.shows,
    )
    return dg.Definitions(assets=assets, asset_checks=[build_checks(pipeline)], jobs=[job], sensors=[sensor])


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


OPTIONS = tuple(name for name in build_prediction_pipeline.__annotations__ if name != "return")
"""Names of the options of `build_prediction_pipeline`."""
