"""What predicting partitions will take: rows, seconds and bytes, from their snapshots and the rates of past attempts.

The past is read from what attempts leave anyway: ``job.json`` (settings) and the ranks' markers (rows, bytes, when
they began and ended). At most `ATTEMPTS` attempts are looked at, the newest of the newest partitions, whatever the
output's size, and at most `MARKERS` markers of each. Imports no torch.
"""

from __future__ import annotations

import json
import math
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from j2v_dagster.attempts.folder import attempt_order
from j2v_dagster.shards.partitions import partition_folder
from j2v_dagster.shards.source import INPUTS_FILE, ShardSource
from json2vec.errors import IncompletePredictions
from json2vec.rank_files.settings import PredictSettings
from json2vec.reading.snapshot import Snapshot, list_shards, listing_digest
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store

ATTEMPTS = 20
MARKERS = 4
_PER_PARTITION = 2
_DECAY = 0.8  # an attempt counts this much of the next newer one
_STAMP = re.compile(r"(\d{8}T\d{6})(\d{0,6})Z-")


@dataclass(frozen=True)
class Conditions:
    """What a rate depends on besides the rows; None is unknown, and matches nothing."""

    checkpoint_sha256: str | None
    accelerator: str
    precision: str
    batch_size: int | None
    threads: int | None
    world_size: int

    @classmethod
    def of(cls, settings: PredictSettings, *, checkpoint_sha256: str | None, world_size: int) -> Conditions:
        """The conditions under which ranks with these settings predict.

        Args:
            settings: of the ranks.
            checkpoint_sha256: hex, of the model's file; None where it is not known.
            world_size: number of ranks.
        """
        values = dict(settings)
        shared = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(checkpoint_sha256=checkpoint_sha256, world_size=world_size, **shared)

    @classmethod
    def of_job(cls, job: Mapping[str, Any]) -> Conditions:
        """The conditions in a job's JSON, of this version or another."""
        return cls(**{field.name: job[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Past:
    """One past attempt.

    Attributes:
        name: the attempt's.
        conditions: of its job.
        rank_rows_per_s: input rows of a rank in a second, while it was at work.
        startup_s: seconds from the attempt's beginning to the first rank's first batch.
        bytes_per_row: bytes of the rank files for each input row.
    """

    name: str
    conditions: Conditions
    rank_rows_per_s: float
    startup_s: float
    bytes_per_row: float


@dataclass(frozen=True)
class Estimate:
    """What one partition, or several after each other, will take.

    Attributes:
        partitions: number of partitions.
        rows: number of their input rows.
        shards: number of their input files.
        input_bytes: bytes of these files.
        ranks: number of processes.
        rank_rows: the largest share of a rank in any partition, in rows.
        seconds: seconds from an attempt's beginning to its last rank's end, summed up; None without a past rate.
        seconds_low: the same at the 90th percentile of past rates.
        seconds_high: the same at the 10th percentile of past rates.
        output_bytes: bytes of the rank files. Without a past attempt it is twice the input's bytes.
        free_bytes: bytes that are free on the output's disk; None in an object store.
        basis: where the numbers come from, in words.
    """

    partitions: int
    rows: int
    shards: int
    input_bytes: int
    ranks: int
    rank_rows: int
    seconds: float | None
    seconds_low: float | None
    seconds_high: float | None
    output_bytes: int
    free_bytes: int | None
    basis: str

    def summary(self) -> str:
        """One line."""
        many = f"{self.partitions} partitions, " if self.partitions > 1 else ""
        text = (
            f"estimate: {many}{_count(self.rows, 'row')} in {_count(self.shards, 'shard')} "
            f"({_bytes(self.input_bytes)}) on {_count(self.ranks, 'rank')}, up to {_count(self.rank_rows, 'row')} "
            "each; "
        )
        if self.seconds is None or self.seconds_low is None or self.seconds_high is None:
            text += f"rank files up to about {_bytes(self.output_bytes)}; {self.basis}"
        else:
            text += (
                f"about {_seconds(self.seconds)} ({_seconds(self.seconds_low)} to {_seconds(self.seconds_high)}), rank "
                f"files about {_bytes(self.output_bytes)}; {self.basis}"
            )
        return text if self.free_bytes is None else f"{text}; {_bytes(self.free_bytes)} free"

    def to_json(self) -> dict[str, Any]:
        """Plain values, by attribute."""
        return asdict(self)


def estimate(
    snapshots: Sequence[Snapshot],
    output: str | os.PathLike[str] | Store,
    *,
    conditions: Conditions,
    folder: str = "dt={partition}",
    one_start: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Estimate:
    """What predicting ``snapshots`` will take, a partition after the other.

    Args:
        snapshots: one a partition.
        output: the pipeline's output, local or in an object store.
        conditions: of the attempts to come.
        folder: template of a partition's folder below ``output``.
        one_start: whether the ranks start once for all partitions, instead of once for each.
        storage_options: of the output's store.
    """
    store = open_store(output, dict(storage_options or {}))
    past = list(past_attempts(store, folder))
    chosen, alike = _choose(past, conditions)
    rows = [snapshot.rows for snapshot in snapshots]
    bytes_in = sum(sum(snapshot.files["size"].to_pylist()) for snapshot in snapshots)
    shares = [math.ceil(partition_rows / conditions.world_size) for partition_rows in rows]
    seconds: list[float | None] = [None, None, None]
    output_bytes, basis = 2 * bytes_in, "no past rate: first run"
    if chosen:
        weights = [_DECAY**age for age in range(len(chosen))]
        rates = [attempt.rank_rows_per_s for attempt in chosen]
        startup = _quantile([attempt.startup_s for attempt in chosen], weights, 0.5)
        for number, share in enumerate((0.5, 0.9, 0.1)):
            rate = _quantile(rates, weights, share)
            seconds[number] = startup * (1 if one_start else len(shares)) + sum(shares) / rate
        output_bytes = round(sum(rows) * _quantile([attempt.bytes_per_row for attempt in chosen], weights, 0.5))
        count = _count(len(chosen), "past attempt")
        basis = f"from {count} {alike}, {_quantile(rates, weights, 0.5):,.0f} rows/s a rank"
    return Estimate(
        partitions=len(snapshots),
        rows=sum(rows),
        shards=sum(snapshot.files.num_rows for snapshot in snapshots),
        input_bytes=bytes_in,
        ranks=conditions.world_size,
        rank_rows=max(shares, default=0),
        seconds=seconds[0],
        seconds_low=seconds[1],
        seconds_high=seconds[2],
        output_bytes=output_bytes,
        free_bytes=store.free_bytes(),
        basis=basis,
    )


def current_snapshot(source: ShardSource, output: str, partition: str) -> Snapshot:
    """The snapshot that was frozen last, where the shards are still that; a new one otherwise, kept nowhere.

    Raises:
        json2vec.errors.ReadError: no shard, or an unreadable one; names it.
    """
    folder = open_store(output, source.storage_options).below(partition_folder(partition, source.folder))
    try:
        frozen = Snapshot.from_json(json.loads(folder.read(INPUTS_FILE)))
        shards = list_shards(source.store(partition), frozen.suffix)
        if listing_digest(frozen.suffix, shards) == frozen.listing_digest:
            return frozen
    except FileNotFoundError:
        pass
    return source.snapshot(partition)


def past_attempts(store: Store, folder: str = "dt={partition}") -> Iterator[Past]:
    """Attempts that ended, the newest first: up to `ATTEMPTS`, of the partitions whose names sort last.

    An attempt whose ranks did not all end, or that predicted no row (it adopted all), has no rate and is left out.
    """
    parent = posixpath.dirname(folder)
    names: list[tuple[str, str]] = []
    for partition in reversed(_folders(store, parent)):
        inside = f"{posixpath.join(parent, partition)}/attempts"
        attempts = sorted(_folders(store, inside), key=attempt_order)
        names += [(attempt, f"{inside}/{attempt}") for attempt in attempts[-_PER_PARTITION:]]
        if len(names) >= ATTEMPTS:
            break
    for name, path in sorted(names, reverse=True)[:ATTEMPTS]:
        past = _read(store, name, path)
        if past is not None:
            yield past


def _read(store: Store, name: str, path: str) -> Past | None:
    from json2vec.rank_files.manifest import Marker, parse_document

    began = _STAMP.match(name)
    try:
        conditions = Conditions.of_job(json.loads(store.read(f"{path}/job.json")))
        world = conditions.world_size
        # A few of many ranks, evenly spread: shares differ by one row at most.
        markers = []
        for rank in sorted({round(step * (world - 1) / (MARKERS - 1)) for step in range(MARKERS)}):
            where = f"{path}/rank-{rank}.json"
            markers.append(parse_document(Marker, store.read(where), store.uri(where)))
    except (FileNotFoundError, IncompletePredictions, KeyError, TypeError, ValueError):
        return None  # it is running, or failed, or is of another version: it tells no rate
    rows = sum(marker.input_rows for marker in markers)
    worked = sum((marker.finished - marker.started).total_seconds() for marker in markers)
    if not rows or worked <= 0 or began is None:
        return None
    stamp = datetime.strptime(f"{began[1]}{began[2] or '0'}", "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    return Past(
        name=name,
        conditions=conditions,
        rank_rows_per_s=rows / worked,
        startup_s=max(min((marker.started - stamp).total_seconds() for marker in markers), 0.0),
        bytes_per_row=sum(file.bytes for marker in markers for file in marker.files) / rows,
    )


def _choose(past: Sequence[Past], expected: Conditions) -> tuple[list[Past], str]:
    """The past attempts most like the ones to come, and how alike they are."""

    def like(*names: str) -> list[Past]:
        return [
            attempt
            for attempt in past
            if all(getattr(attempt.conditions, name) == getattr(expected, name) for name in names)
        ]

    speed = ("accelerator", "precision", "batch_size", "threads")
    for names, words in (
        (("checkpoint_sha256", *speed, "world_size"), "of this model with these settings"),
        (("checkpoint_sha256", *speed), "of this model with another number of ranks"),
        (("checkpoint_sha256", "accelerator"), "of this model with other settings"),
        (("accelerator",), f"of other models on {expected.accelerator}"),
    ):
        if chosen := like(*names):
            return chosen, words
    return list(past), "of other models on other devices"


def _quantile(values: Sequence[float], weights: Sequence[float], share: float) -> float:
    """The weighted quantile: the first value, in order, at which ``share`` of the weight is reached."""
    ordered = sorted(zip(values, weights, strict=True))
    goal, sum_of = share * sum(weights), 0.0
    for value, weight in ordered:
        sum_of += weight
        if sum_of >= goal - 1e-12:
            return value
    return ordered[-1][0]


def _folders(store: Store, prefix: str) -> list[str]:
    """Names of the folders right below ``prefix``, sorted; partitions' and attempts' alone."""
    return [name for name in store.folders(prefix) if name[0] not in "._"]


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _bytes(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def _seconds(count: float) -> str:
    if count < 120:
        return f"{count:,.0f} s"
    return f"{count / 60:,.0f} min" if count < 7200 else f"{count / 3600:,.1f} h"
