"""`Json2VecPredictions`: the pipeline as a Dagster component, for ``defs.yaml``."""

# No `from __future__ import annotations`: Dagster derives the YAML model from the annotations themselves.

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import dagster as dg

from j2v_dagster.checks import ALL_FINDINGS
from j2v_dagster.definitions import resolve_options
from j2v_dagster.pipeline import build_prediction_pipeline
from j2v_dagster.scaffold import PredictionsScaffolder


def _described(description: str, *examples: Any) -> Any:
    return dg.Resolver.default(description=description, examples=list(examples))


@dg.scaffold_with(PredictionsScaffolder)
@dataclass
class Json2VecPredictions(dg.Component, dg.Resolvable):
    """Batch inference of a json2vec model over partitions of files, with blocking checks, into a warehouse table."""

    name: Annotated[str, _described("The pipeline's name: prefix of the asset keys, group, job and sensor.", "flights")]
    inputs: Annotated[str, _described("Root of all partitions: a path relative to this file, or a URI.", "data/shards")]
    partitions: Annotated[
        dict[str, Any],
        _described("kind: daily, hourly, static or dynamic, and its options.", {"kind": "daily"}),
    ]
    checkpoint: Annotated[str, _described("Path or URI of the model's checkpoint.", "model.ckpt")]
    output: Annotated[str, _described("Folder for attempts, a path or an s3:// URI.", "predictions")]
    warehouse: Annotated[str | dict[str, Any], _described("DuckDB path, or kind and options.", "warehouse.duckdb")]
    table: Annotated[str, _described("The table's name, taken literally as one identifier.", "predictions")]
    columns: Annotated[
        dict[str, str], _described("Path in the rank files by column name.", {"id": "inputs.observation_id"})
    ]
    suffix: Annotated[str, _described("File format of the shards.", "parquet")] = "parquet"
    folder: Annotated[str, _described("Template of a partition's folder.", "dt={partition}")] = "dt={partition}"
    partition_column: Annotated[str, _described("The table's text column that holds the partition key.")] = "partition"
    ranks: Annotated[int, _described("Processes that predict one partition.", 2)] = 1
    batch_size: Annotated[int | None, _described("Rows a forward pass; default: the model's.", 512)] = None
    accelerator: Annotated[str, _described("Lightning's accelerator.", "cpu", "gpu")] = "cpu"
    precision: Annotated[str, _described("Lightning's precision.", "32-true")] = "32-true"
    threads: Annotated[int | None, _described("Torch threads of each rank; default: CPUs over ranks.")] = None
    preprocessor: Annotated[str | None, _described("module:function that makes observations of rows.")] = None
    postprocessor: Annotated[str | None, _described("module:function that makes columns of predictions.")] = None
    trusted_modules: Annotated[Sequence[str], _described("Modules that a job or a checkpoint may import.")] = ()
    keep_inputs: Annotated[bool | list[str], _described("Input columns in the rank files: all, none, these.")] = True
    reconstruct: Annotated[Sequence[str], _described("Addresses whose inputs are predicted as well.")] = ()
    segment_rows: Annotated[int, _described("Rows after which a rank seals a file.")] = 1_000_000
    flush_every_n_batches: Annotated[int | None, _described("Batches in a row group; default: the writer's.")] = None
    on_bad_row: Annotated[str, _described("raise, or quarantine.", "raise")] = "raise"
    max_rejected: Annotated[int | float, _described("Rows that may be quarantined: a share, or a number.", 0.01)] = 0.01
    resume: Annotated[bool, _described("Adopt the segments that earlier failed attempts sealed.")] = True
    backfill: Annotated[str, _described("per_partition, or single_run.", "single_run")] = "per_partition"
    incremental: Annotated[bool, _described("Predict only rows that changed since the current attempt.")] = False
    rank_timeout_s: Annotated[float, _described("Seconds without progress after which a rank counts as hung.")] = 600.0
    min_free_bytes: Annotated[int, _described("Free bytes wanted beyond twice the input's.")] = 268_435_456
    contract: Annotated[
        str, _described("Shards that are not what the model was trained on: raise, warn, off.", "raise")
    ] = "raise"
    contract_sample: Annotated[int, _described("Rows read to compare them with the training.", 4096)] = 4096
    contract_limits: Annotated[
        dict[str, Any] | None,
        _described("Pairs [warning, error] of shares by rate, and ignore: columns.", {"null_rate": [0.05, 0.25]}),
    ] = None
    replay_sample: Annotated[int, _described("Rows a partition that the checks predict again.")] = 64
    require: Annotated[Sequence[str], _described("Findings that must be proven.")] = ALL_FINDINGS
    sample_rows: Annotated[int, _described("Rows of the table that the UI shows; 0 shows none.", 0)] = 5
    launcher: Annotated[str | dict[str, Any] | None, _described("torchrun, or kind and options.")] = None
    translator: Annotated[str | None, _described("module:Class of a PredictionTranslator.")] = None
    sensor_min_age_s: Annotated[float, _described("Seconds that a partition's newest shard must have rested.")] = 60.0
    sensor_marker: Annotated[str | None, _described("Marker file that says so at once.", "_SUCCESS")] = None
    sensor_max_partitions: Annotated[int, _described("Most runs one tick requests.")] = 20
    sensor_max_keys: Annotated[int, _described("Files one tick lists.", 20_000)] = 20_000
    sensor_recent: Annotated[int, _described("Newest daily or hourly partitions that every tick looks at.")] = 3
    sensor_interval_s: Annotated[int, _described("Least seconds between two ticks.")] = 30
    sensor_target: Annotated[str, _described("What a run materializes: table (all), or input_shards.")] = "table"
    sensor_status: Annotated[str, _described("stopped or running, at first.", "running")] = "stopped"
    automation: Annotated[str, _described("What follows by itself: off, table or all.", "table")] = "table"
    freshness_fail_s: Annotated[
        float | None, _described("Seconds since the last load after which freshness fails.", 93_600)
    ] = None
    freshness_warn_s: Annotated[
        float | None, _described("Seconds since the last load after which freshness warns.", 90_000)
    ] = None
    retries: Annotated[int, _described("Further tries of predicting and loading, where another may help.", 2)] = 0
    retry_delay_s: Annotated[float, _described("Seconds before the first; then twice as long each time.")] = 30.0
    pool: Annotated[str | None, _described("Pool of predicting; default: gpu, none on CPUs.", "gpu")] = None
    storage_options: Annotated[
        dict[str, Any] | None, _described("Options of the object store's client; never secrets.")
    ] = None
    scratch: Annotated[str | None, _described("Local folder for what is not in the object store yet.")] = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The pipeline's definitions; relative paths are relative to the component's folder."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        home = Path(context.path)
        return build_prediction_pipeline(
            **resolve_options(options, home=home if home.is_dir() else home.parent, where=str(context.path))
        )
