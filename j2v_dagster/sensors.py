"""A sensor that asks for a run whenever a partition's shards are new or have changed.

Only listings are read, never files. The cursor remembers each folder's listing digest; the run key holds it too, so
that a lost cursor asks for nothing twice: Dagster knows which run keys it has served.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from j2v_dagster.partitions import partition_of
from j2v_dagster.shards import Folder, ShardSource, list_folders
from json2vec.errors import StoreError
from json2vec.stores import open_store

CURSOR_FORMAT = 1


@dataclass(frozen=True)
class SensorOptions:
    """How the sensor looks at folders.

    Attributes:
        min_age_s: seconds that a folder's newest shard must have rested before the folder counts as written.
        marker: name of a file such as ``_SUCCESS`` that says so instead; then ``min_age_s`` does not matter.
        max_partitions: most runs requested by one tick; the next tick goes on where it stopped.
        interval_s: least seconds between two ticks.
    """

    min_age_s: float = 60.0
    marker: str | None = None
    max_partitions: int = 20
    interval_s: int = 30


@dataclass
class Cursor:
    """What the sensor has seen: listing digest by folder, and where a scan that hit its bound goes on."""

    seen: dict[str, str]
    after: str = ""

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """A cursor from its text; anything unreadable begins anew, which is safe."""
        try:
            value = json.loads(text or "")
        except ValueError:
            return cls({})
        if not isinstance(value, dict) or value.get("format") != CURSOR_FORMAT:
            return cls({})
        return cls(dict(value["seen"]), value["after"])

    def dumps(self) -> str:
        return json.dumps({"format": CURSOR_FORMAT, "seen": self.seen, "after": self.after}, separators=(",", ":"))


def build_shard_sensor(
    *,
    name: str,
    source: ShardSource,
    partitions_def: dg.PartitionsDefinition,
    job: dg.JobDefinition | object,
    options: SensorOptions,
) -> dg.SensorDefinition:
    """A sensor, stopped until somebody switches it on, that launches ``job`` for new and changed partitions.

    Keys of a dynamic partitions definition are added; other definitions decide which folders count at all.
    """

    @dg.sensor(
        name=f"{name}_shards",
        job=job,  # pyright: ignore[reportArgumentType]
        minimum_interval_seconds=options.interval_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Requests a run for each new or changed partition below {source.inputs}.",
    )
    def shards(context) -> dg.SensorResult:
        cursor = Cursor.parse(context.cursor)
        try:
            changed, skipped = scan(source, cursor, partitions_def, context, options)
        except StoreError as exc:
            return dg.SensorResult(skip_reason=str(exc), cursor=context.cursor)
        requests = [
            dg.RunRequest(
                partition_key=key, run_key=f"{key}:{folder.digest}", tags={"json2vec/listing": folder.digest[:16]}
            )
            for key, folder in changed
        ]
        result = {"cursor": cursor.dumps(), "run_requests": requests}
        if not requests:
            waiting = f"; {len(skipped)} folders wait or have no partition: {', '.join(skipped[:5])}" if skipped else ""
            return dg.SensorResult(cursor=result["cursor"], skip_reason=f"nothing new below {source.inputs}{waiting}")
        dynamic = []
        if isinstance(partitions_def, dg.DynamicPartitionsDefinition):
            dynamic = [partitions_def.build_add_request([key for key, _ in changed])]
        return dg.SensorResult(**result, dynamic_partitions_requests=dynamic)

    return shards


def scan(
    source: ShardSource,
    cursor: Cursor,
    partitions_def: dg.PartitionsDefinition,
    context: dg.SensorEvaluationContext,
    options: SensorOptions,
) -> tuple[list[tuple[str, Folder]], list[str]]:
    """One tick: at most ``max_partitions`` changed folders with their keys, and the names of folders passed over.
    Brings ``cursor`` up to date."""
    store = open_store(source.inputs, source.storage_options)
    existing = None
    if not isinstance(partitions_def, dg.DynamicPartitionsDefinition):
        existing = set(partitions_def.get_partition_keys(dynamic_partitions_store=context.instance))
    changed: list[tuple[str, Folder]] = []
    skipped: list[str] = []
    start, cursor.after = cursor.after, ""
    for folder in _after(list_folders(source, store), start):
        if not folder.shards or cursor.seen.get(folder.name) == folder.digest[:16]:
            continue
        key = partition_of(folder.name, source.folder)
        if (
            key is None
            or (existing is not None and key not in existing)
            or not folder.is_stable(min_age_s=options.min_age_s, marker=options.marker)
        ):
            skipped.append(folder.name)
            continue
        changed.append((key, folder))
        cursor.seen[folder.name] = folder.digest[:16]
        if len(changed) >= options.max_partitions:
            cursor.after = folder.name
            break
    return changed, skipped


def _after(folders: Iterator[Folder], name: str) -> Iterator[Folder]:
    return (folder for folder in folders if folder.name > name)
