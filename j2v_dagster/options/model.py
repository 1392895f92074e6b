"""`PipelineOptions`: every option of a prediction pipeline, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import BeforeValidator, ConfigDict, SkipValidation, ValidationError, field_validator, model_validator

from j2v_dagster.checks import ALL_FINDINGS, REQUIRED_FINDINGS
from j2v_dagster.launchers.base import Launcher
from j2v_dagster.options.messages import OptionError, said_of, unknown_names
from j2v_dagster.options.option import Option, options_of
from j2v_dagster.shards.storage_options import read_storage_options
from j2v_dagster.translator import PredictionTranslator
from j2v_dagster.warehouse.base import Warehouse
from json2vec.contract import SAMPLE_ROWS
from json2vec.enums import Suffix
from json2vec.rank_files.settings import PredictSettings, SharedSettings, Texts, about, as_texts
from json2vec.reading.options import CsvOptions, ReadOptions, read_options
from json2vec.storage.s3 import SECRET_OPTIONS

Values = Mapping[str, Any]


class PipelineOptions(SharedSettings):
    """The options of a pipeline; see the description of each field, or the table in docs/dagster.md."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: Annotated[
        str,
        about(
            "The pipeline's name: letters, digits and underscores. It is the prefix of the asset keys, the group, and "
            "the name of the job (NAME_predict) and of the sensor (NAME_shards).",
            example="flights",
        ),
    ]
    inputs: Annotated[
        str, about("Root of all partitions, a path or URI.", changes="values", unit="path", example="data/shards")
    ]
    partitions: Annotated[
        SkipValidation[dg.PartitionsDefinition | Mapping[str, Any]],
        about(
            "How the inputs are partitioned: a mapping with kind daily or hourly (start, end, timezone), static (keys) "
            "or dynamic (name); in Python also a partitions definition.",
            example={"kind": "daily", "start": "2026-01-31"},
        ),
    ]
    checkpoint: Annotated[
        str,
        about(
            "The model's checkpoint, as Model.save writes it; a path or URI.",
            changes="values",
            unit="path",
            example="model.ckpt",
        ),
    ]
    output: Annotated[
        str,
        about(
            "Folder for attempts, a path or an s3:// URI; each partition gets a folder of its own below it.",
            unit="path",
            example="predictions",
        ),
    ]
    warehouse: Annotated[
        SkipValidation[Warehouse | str | Mapping[str, Any]],
        about(
            "Where the table lies: the path of a DuckDB file, or a mapping with kind (a known one, or module:Class of "
            "another package) and its options (docs/warehouses.md).",
            repr=False,
            example={"kind": "iceberg", "path": "data/iceberg"},
        ),
    ]
    table: Annotated[
        str,
        about("The table's name, taken literally as one identifier: a dot is part of the name.", example="orders"),
    ]
    columns: Annotated[
        Mapping[str, str],
        about("The table's columns: a path in the rank files by column name.", example={"id": "inputs.id"}),
    ]
    suffix: Annotated[
        str,
        about(
            f"File format of the shards: one of {', '.join(Suffix)}.",
            changes="values",
            example="ndjson",
        ),
    ] = "parquet"
    lake_tables: Annotated[
        Literal["refuse", "files"],
        about(
            "What happens where a partition lies in the folder of a Delta, Iceberg or Hudi table: refuse fails, files "
            "reads every file there, also those that the table has removed.",
            example="files",
        ),
    ] = "refuse"
    folder: Annotated[
        str,
        about(
            "Template of a partition's folder below inputs and output. With date parts, such as "
            "{partition:%Y/%m/%d}, it holds below inputs only.",
            example="day={partition}",
        ),
    ] = "dt={partition}"
    csv: Annotated[
        SkipValidation[CsvOptions | Mapping[str, Any] | None],
        about(
            "How CSV shards are cut into cells: a mapping of separator, quote, encoding, null_values, header and "
            "column_names (docs/texts.md).",
            changes="values",
            example={"separator": ";", "encoding": "latin-1"},
        ),
    ] = None
    empty_files: Annotated[
        Literal["raise", "skip"],
        about("What a shard of 0 bytes is: raise fails the run, skip takes it as a file without rows.", example="skip"),
    ] = "raise"
    folder_columns: Annotated[
        Texts,
        about(
            "Names of input columns that are made of folder names, such as dt of dt=2024-01-01 (docs/texts.md).",
            changes="values",
            example=["region"],
        ),
    ] = ()
    partition_column: Annotated[
        str, about("The table's text column that holds the partition key.", example="day")
    ] = "partition"
    ranks: Annotated[int, about("Processes that predict one partition.", unit="processes", example=2, ge=1)] = 1
    keep_inputs: Annotated[
        bool | Sequence[str],
        BeforeValidator(as_texts),
        about("Input columns that the rank files keep: all (true), none (false), or a list.", changes="values",
              example=["id"]),
    ] = True  # fmt: skip
    resume: Annotated[
        bool, about("Whether to adopt the segments that earlier failed attempts sealed and predict only the rest.")
    ] = True
    backfill: Annotated[
        Literal["per_partition", "single_run"],
        about(
            "per_partition runs one partition a run; single_run runs any number in one run, whose ranks start once.",
            example="single_run",
        ),
    ] = "per_partition"
    incremental: Annotated[
        bool,
        about("Whether rows that have not changed since the partition's current attempt take its stored predictions."),
    ] = False
    rank_timeout_s: Annotated[
        float,
        about(
            "Seconds without progress after which a rank counts as hung; every rank is ended then, and the error names "
            "it.",
            unit="seconds",
            gt=0,
        ),
    ] = 600.0
    min_free_bytes: Annotated[
        int, about("Bytes that must be free on the output's disk beyond twice the input's.", unit="bytes", ge=0)
    ] = 256 * 2**20
    contract: Annotated[
        Literal["raise", "warn", "off"],
        about(
            "What happens where a partition's shards are not what the model was trained on (docs/contract.md): raise "
            "before any rank starts, warn, or off.",
            example="warn",
        ),
    ] = "raise"
    contract_sample: Annotated[
        int,
        about(
            "Rows of a partition that are read for the contract and for the check input_drift; 0 compares schemas "
            "alone.",
            unit="rows",
            ge=0,
        ),
    ] = SAMPLE_ROWS
    contract_limits: Annotated[
        Values | None,
        about(
            "A pair [warning, error] of shares from 0.0 to 1.0 for each of null_rate, unknown_rate, empty_rate, "
            "overflow_rate and outside_rate; psi; and ignore, a list of columns.",
            unit="shares",
            example={"null_rate": [0.05, 0.25]},
        ),
    ] = None
    replay_sample: Annotated[
        int,
        about("Rows a partition that the checks predict again; 0 leaves replay unproven and not required.", unit="rows",
              ge=0),
    ] = 64  # fmt: skip
    source_sample: Annotated[
        int,
        about(
            "Rows a partition that the checks compare with what a second reader sees in the shards; 0 leaves source "
            "unproven and not required.",
            unit="rows",
            ge=0,
        ),
    ] = 64
    require: Annotated[
        Texts,
        about(f"Findings that must be proven, of {', '.join(ALL_FINDINGS)}. One that failed always fails its check."),
    ] = REQUIRED_FINDINGS
    sample_rows: Annotated[
        int,
        about(
            "Rows of the table that the UI shows with each load. They lie in Dagster's event log: say 0 where rows are "
            "private.",
            unit="rows",
            ge=0,
        ),
    ] = 5
    launcher: Annotated[
        SkipValidation[Launcher | str | Mapping[str, Any] | None],
        about(
            "What starts the ranks: torchrun (the default), or a mapping with kind (a known one, or module:Class of "
            "another package) and its options (docs/launchers.md).",
            repr=False,
            example={"kind": "torchrun", "grace_s": 5},
        ),
    ] = None
    translator: Annotated[
        SkipValidation[PredictionTranslator | str | None],
        about(
            "What names, groups, owns, tags and describes the assets: module:Class of a PredictionTranslator; in "
            "Python also the translator itself.",
            example="shop.names:Translator",
        ),
    ] = None
    sensor_min_age_s: Annotated[
        float,
        about("Seconds that a partition's newest shard must have rested before a run is requested.", unit="seconds",
              ge=0),
    ] = 60.0  # fmt: skip
    sensor_marker: Annotated[
        str | None,
        about(
            "Name of a file in the partition's folder that says at once that it is written. Shards newer than it wait "
            "for sensor_min_age_s.",
            example="_SUCCESS",
        ),
    ] = None
    sensor_max_partitions: Annotated[int, about("Runs that one tick requests at most.", unit="runs", ge=1)] = 20
    sensor_max_keys: Annotated[
        int,
        about("Files that one tick lists; the folder that reaches it is still read to its end.", unit="files", ge=1),
    ] = 20_000
    sensor_recent: Annotated[
        int,
        about("Newest partitions of a daily or hourly definition that every tick looks at first.", unit="partitions",
              ge=0),
    ] = 3  # fmt: skip
    sensor_interval_s: Annotated[int, about("Least seconds between two ticks.", unit="seconds", ge=0)] = 30
    sensor_target: Annotated[
        Literal["table", "input_shards"],
        about(
            "What a requested run materializes: everything up to the table, or input_shards alone, which makes the "
            "partition stale and leaves the rest to automation.",
            example="input_shards",
        ),
    ] = "table"
    sensor_status: Annotated[
        Literal["stopped", "running"],
        about("Whether the sensor is stopped until somebody switches it on, or running from the start.",
              example="running"),
    ] = "stopped"  # fmt: skip
    automation: Annotated[
        Literal["off", "table", "all"],
        about(
            "What follows by itself once Dagster's automation sensor is on (docs/automation.md): table loads rank "
            "files whose blocking checks passed, all also predicts new snapshots, off nothing.",
            example="all",
        ),
    ] = "table"
    freshness_fail_s: Annotated[
        float | None,
        about(
            "Seconds since the last load after which the table's freshness fails, at least 60; by default there is no "
            "policy.",
            unit="seconds",
            example=93_600,
        ),
    ] = None
    freshness_warn_s: Annotated[
        float | None,
        about("Seconds since the last load after which it warns; less than freshness_fail_s.", unit="seconds",
              example=90_000),
    ] = None  # fmt: skip
    retries: Annotated[
        int,
        about("Tries that a run gives predicting and loading after the first, where another may help.", unit="tries",
              example=2, ge=0),
    ] = 0  # fmt: skip
    retry_delay_s: Annotated[
        float,
        about("Seconds before the first of these tries; each further one waits twice as long, a little more or less.",
              unit="seconds", ge=0),
    ] = 30.0  # fmt: skip
    pool: Annotated[
        str | None,
        about(
            "The pool that predicting takes a slot of; by default gpu, but none with accelerator: cpu. An empty text "
            "means none.",
            example="gpu",
        ),
    ] = None
    storage_options: Annotated[
        Values | None,
        about(
            "Options of the object store's client, for inputs, output and checkpoint (docs/object-stores.md). "
            "Credentials are refused, since the options are written into jobs.",
            repr=False,
            example={"endpoint_url": "http://localhost:8333"},
        ),
    ] = None
    scratch: Annotated[
        str | None,
        about(
            "Local folder for what is not in the object store yet: logs, open segments, copies of the checkpoint. By "
            "default $J2V_SCRATCH, else a folder below the system's for temporary files.",
            unit="path",
        ),
    ] = None

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not value.isidentifier():
            raise ValueError(f"name is {value!r}; expected letters, digits and underscores, beginning with no digit")
        return value

    @field_validator("suffix")
    @classmethod
    def _suffix(cls, value: str) -> str:
        if value not in list(Suffix):
            raise ValueError(f"suffix is {value!r}; expected one of {', '.join(Suffix)}")
        return value

    @model_validator(mode="after")
    def _reading(self) -> PipelineOptions:
        self.reading()
        return self

    @field_validator("require")
    @classmethod
    def _require(cls, value: Sequence[str]) -> Sequence[str]:
        if unknown := sorted(set(value) - set(ALL_FINDINGS)):
            raise ValueError(f"require names {unknown}; expected some of {list(ALL_FINDINGS)}")
        return value

    @field_validator("storage_options", mode="before")
    @classmethod
    def _of_a_resource(cls, value: Any) -> Any:
        return value if value is None else read_storage_options(value)

    @field_validator("storage_options")
    @classmethod
    def _no_secrets(cls, value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if secret := sorted(set(value or {}) & SECRET_OPTIONS):
            raise ValueError(
                f"storage_options holds {secret}; expected no credentials, since the options are written into jobs. "
                "Remedy: give credentials through the AWS chain (environment, profile, instance role)"
            )
        if "@" in str((value or {}).get("endpoint_url", "")):
            raise ValueError("endpoint_url holds credentials. Remedy: give them through the AWS chain")
        return value

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> PipelineOptions:
        """Options from plain values.

        Raises:
            OptionError: one that is missing, unknown or cannot be meant; all of them are named.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as exc:
            where = f"pipeline {values['name']!r}" if isinstance(values.get("name"), str) else "pipeline"
            message = said_of(exc.errors(), options())
            remedy = "" if "Remedy:" in message else ". Remedy: see the table of options in docs/dagster.md"
            raise OptionError(f"{where}: {message}{remedy}") from None

    def reading(self) -> ReadOptions:
        """How the shards are read where they do not say it themselves."""
        return read_options(
            self.suffix, csv=self.csv, empty_files=self.empty_files, folder_columns=self.folder_columns
        )

    def settings(self) -> PredictSettings:
        """What the ranks must know of them."""
        shared = {name: getattr(self, name) for name in SharedSettings.model_fields}
        return PredictSettings(inputs=self.keep_inputs, **shared)


def options() -> tuple[Option, ...]:
    """All options of a pipeline: the required ones, those of its own, then those that every job has."""
    return options_of(PipelineOptions, last=SharedSettings)


def unknown_options(names: Iterable[str]) -> str:
    """What to say of names that are no options of a pipeline; empty where all are."""
    return unknown_names(names, options())
