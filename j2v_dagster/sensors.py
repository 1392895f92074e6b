"""A sensor that asks for a run whenever a partition's shards are new or have changed.

Only listings are read, never shards. A version of a partition is handled once Dagster knows a run with its run key,
or once the table shows it already; the cursor is a memory of that and may be lost any time (see
`j2v_dagster.shards.scanning`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import dagster as dg

from j2v_dagster.compat import RUN_KEY_TAG, SENSOR_NAME_TAG
from j2v_dagster.shards.keys import key_of, new_keys, newest_folders
from j2v_dagster.shards.scanning import Cursor, ScanOptions, TickOutcome, scan
from j2v_dagster.shards.source import Folder, ShardSource
from json2vec.errors import StoreError

Status = Literal["stopped", "running"]


@dataclass(frozen=True)
class SensorOptions:
    """What the sensor does.

    Attributes:
        scan: how a tick looks at folders, and its bounds.
        interval_s: least seconds between two ticks.
        recent: newest partitions of a time window that every tick looks at, wherever the round is.
        status: whether it runs from the start.
    """

    scan: ScanOptions = field(default_factory=ScanOptions)
    interval_s: int = 30
    recent: int = 3
    status: Status = "stopped"


def build_shard_sensor(
    *,
    name: str,
    source: ShardSource,
    partitions_def: dg.PartitionsDefinition,
    job: dg.JobDefinition | object,
    options: SensorOptions,
    selection: Sequence[dg.AssetKey] | None = None,
    shows: Callable[[str], str | None] = lambda partition: None,
) -> dg.SensorDefinition:
    """A sensor that launches ``job`` for new and changed partitions.

    Keys of a dynamic partitions definition, and of a dynamic dimension, are added; other definitions decide which
    folders count at all.

    Args:
        selection: assets of the job to materialize; default: all.
        shows: the listing digest of the shards that the table shows of a partition, None where there is none. Such a
            version needs no run, though the sensor launched none: somebody did so by hand, or old runs were removed.
    """
    status = dg.DefaultSensorStatus.RUNNING if options.status == "running" else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=f"{name}_shards",
        job=job,  # pyright: ignore[reportArgumentType]
        minimum_interval_seconds=options.interval_s,
        default_status=status,
        description=f"Requests a run for each new or changed partition below {source.inputs}.",
    )
    def shards(context) -> dg.SensorResult:
        cursor = Cursor.parse(context.cursor)

        def handled(key: str, folder: Folder) -> bool:
            return was_requested(context, run_key(key, folder)) or shows(key) == folder.digest

        try:
            outcome = scan(
                source,
                source.root,
                cursor,
                key_of=lambda folder: key_of(folder, source.folder, partitions_def),
                handled=handled,
                options=options.scan,
                first=newest_folders(partitions_def, source.folder, options.recent),
            )
        except StoreError as exc:
            return dg.SensorResult(skip_reason=str(exc), cursor=context.cursor)
        context.log.info(tick_summary(outcome, cursor))
        requests = [
            dg.RunRequest(
                partition_key=key,
                run_key=run_key(key, folder),
                asset_selection=selection,
                tags={"json2vec/listing": folder.digest[:16]},
            )
            for key, folder in outcome.requests
        ]
        if not requests:
            return dg.SensorResult(
                cursor=cursor.dumps(), skip_reason=f"nothing new below {source.inputs}; {tick_summary(outcome, cursor)}"
            )
        return dg.SensorResult(
            cursor=cursor.dumps(),
            run_requests=requests,
            dynamic_partitions_requests=new_keys(
                [key for key, _ in outcome.requests], partitions_def, context.instance
            ),
        )

    return shards


def run_key(key: str, folder: Folder) -> str:
    """The run key of one version of a partition: Dagster launches it once for this sensor."""
    return f"{key}:{folder.version}"


def was_requested(context: dg.SensorEvaluationContext, run_key: str) -> bool:
    """Whether this sensor has launched a run with ``run_key``, by the rule of Dagster's own daemon: same sensor, same
    code location. A run that was made but never launched does not count: the daemon launches it when asked again."""
    location = context.code_location_origin
    for run in context.instance.get_runs(filters=dg.RunsFilter(tags={RUN_KEY_TAG: run_key})):
        if run.status == dg.DagsterRunStatus.NOT_STARTED or run.tags.get(SENSOR_NAME_TAG) != context.sensor_name:
            continue
        origin = run.remote_job_origin
        if origin is None or location is None:
            return True
        repository = origin.repository_origin
        if (repository.code_location_origin.location_name, repository.repository_name) == (
            location.location_name,
            context.repository_name,
        ):
            return True
    return False


def tick_summary(outcome: TickOutcome, cursor: Cursor) -> str:
    """One line on what a tick did."""
    parts = [f"{outcome.keys:,} files listed"]
    parts.append("all folders looked at" if outcome.round_done else f"goes on behind {cursor.after!r}")
    for text, names in (("too young", outcome.young), ("without a partition", outcome.keyless)):
        if names:
            folders = list(dict.fromkeys(names))
            listed = f"{', '.join(folders[:5])}{', ...' if len(folders) > 5 else ''}"
            parts.append(f"{len(folders)} folders {text}: {listed}")
    return "; ".join(parts)
