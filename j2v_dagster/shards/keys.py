"""What a partitions definition says of keys: whether it goes with a folder template, and which key a folder has.

A definition that is accepted has no key that is refused later: each key has a folder of its own, and the folder leads
back to the key. Keys that appear later, of a dynamic definition, are asked about one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from j2v_dagster.shards.partitions import (
    PLACEHOLDER,
    PartitionKeyError,
    check_template,
    has_date_parts,
    key_format,
    partition_folder,
    partition_of,
)

_TRIED = 50
"""First windows of a definition whose keys are tried: more than the hours of a day or the days of a month."""

_YEARS = 10
"""Years from now in which a time zone's clock is watched: later ones follow the same rule."""


def check_folder(template: str, partitions_def: dg.PartitionsDefinition, *, name: str) -> None:
    """Raise ValueError unless the keys of ``partitions_def`` can be laid out as ``template`` says, each in a folder of
    its own."""
    check_template(template)
    for dimension, one in dimensions(partitions_def).items():
        if isinstance(one, dg.StaticPartitionsDefinition):
            for key in one.get_partition_keys():
                partition_folder(key, template if not has_date_parts(template) else PLACEHOLDER)
        elif isinstance(one, dg.TimeWindowPartitionsDefinition):
            _check_unique(one, name=name, dimension=dimension)
    if not has_date_parts(template):
        return
    form = key_format(template)
    if not isinstance(partitions_def, dg.TimeWindowPartitionsDefinition) or partitions_def.fmt != form:
        raise ValueError(
            f"pipeline {name!r}: folder {template!r} takes keys of the form {form}; expected "
            f"{'hourly' if '%H' in template else 'daily'} partitions. Remedy: add or remove %H, or take {PLACEHOLDER}"
        )
    if "%H" in template and "%M" not in template and (odd := _odd_minute(partitions_def)):
        raise ValueError(
            f"pipeline {name!r}: folder {template!r} says no minute, and {odd}; expected partitions that all begin on "
            f"the hour. Remedy: add %M to the folder, such as {{partition:%Y/%m/%d/%H%M}}, or take {PLACEHOLDER}"
        )


def dimensions(partitions_def: dg.PartitionsDefinition) -> Mapping[str, dg.PartitionsDefinition]:
    """The definitions that make up a definition of several dimensions, by their names, in the order of their parts in
    a key; any other definition alone, under an empty name."""
    if isinstance(partitions_def, dg.MultiPartitionsDefinition):
        return {one.name: one.partitions_def for one in sorted(partitions_def.partitions_defs, key=lambda d: d.name)}
    return {"": partitions_def}


def key_of(folder: str, template: str, partitions_def: dg.PartitionsDefinition) -> str | None:
    """The partition key of a folder; None where it has none, or none that ``partitions_def`` has (yet).

    A dynamic definition, and a dynamic dimension, has any key that Dagster takes.
    """
    key = partition_of(folder, template)
    parts = None if key is None else _parts(key, partitions_def)
    if parts is None:
        return None
    try:
        known = all(_knows(one, parts[dimension]) for dimension, one in dimensions(partitions_def).items())
    except Exception:  # definitions are other people's classes; one odd folder must not cost a tick its others
        return None
    return key if known else None


def new_keys(
    keys: Iterable[str], partitions_def: dg.PartitionsDefinition, instance: dg.DagsterInstance
) -> list[dg.AddDynamicPartitionsRequest]:
    """The requests that add what ``keys`` have and the instance has not: one for each dynamic dimension that lacks
    some.

    Args:
        keys: keys that `key_of` gave.
    """
    found = [parts for key in keys if (parts := _parts(key, partitions_def)) is not None]
    requests = []
    for dimension, one in dimensions(partitions_def).items():
        if not _is_open(one):
            continue
        assert isinstance(one, dg.DynamicPartitionsDefinition)
        existing = set(instance.get_dynamic_partitions(str(one.name)))
        added = [key for key in dict.fromkeys(parts[dimension] for parts in found) if key not in existing]
        if added:
            requests.append(one.build_add_request(added))
    return requests


def newest(partitions_def: dg.PartitionsDefinition, count: int) -> list[str]:
    """The newest ``count`` keys of a time window, the oldest first; of other definitions none, since nobody knows where
    their next key appears."""
    if not isinstance(partitions_def, dg.TimeWindowPartitionsDefinition) or not count:
        return []
    last = first = partitions_def.get_last_partition_window()
    if last is None or first is None:
        return []
    for _ in range(count - 1):
        if (before := partitions_def.get_prev_partition_window(first.start)) is None:
            break
        first = before
    return list(partitions_def.get_partition_keys_in_time_window(dg.TimeWindow(first.start, last.end)))


def newest_folders(partitions_def: dg.PartitionsDefinition, template: str, count: int) -> Iterator[str]:
    """The folders of `newest`, without those of keys that can have none."""
    for key in newest(partitions_def, count):
        try:
            yield partition_folder(key, template)
        except PartitionKeyError:
            continue


def _parts(key: str, partitions_def: dg.PartitionsDefinition) -> dict[str, str] | None:
    """The part that each dimension has of a key; None where the numbers differ."""
    names = list(dimensions(partitions_def))
    parts = [key] if names == [""] else key.split("|")
    return dict(zip(names, parts, strict=True)) if len(parts) == len(names) else None


def _is_open(partitions_def: dg.PartitionsDefinition) -> bool:
    """Whether keys may be added."""
    return isinstance(partitions_def, dg.DynamicPartitionsDefinition) and partitions_def.name is not None


def _knows(partitions_def: dg.PartitionsDefinition, key: str) -> bool:
    if not _is_open(partitions_def):
        return partitions_def.has_partition_key(key)
    # Dagster refuses some texts as keys, and with one of them every other request of the tick.
    try:
        dg.StaticPartitionsDefinition([key])
    except dg.DagsterInvalidDefinitionError:
        return False
    return bool(key)


def _first_windows(windows: dg.TimeWindowPartitionsDefinition) -> Iterator[tuple[str, dg.TimeWindow]]:
    """The first `_TRIED` windows, whether their time has come or not, each behind its key."""
    window = windows.get_next_partition_window(windows.start, respect_bounds=False)
    for _ in range(_TRIED):
        if window is None or (windows.end is not None and window.end > windows.end):
            return
        yield windows.get_partition_keys_in_time_window(window)[0], window
        window = windows.get_next_partition_window(window.end, respect_bounds=False)


def _check_unique(windows: dg.TimeWindowPartitionsDefinition, *, name: str, dimension: str) -> None:
    seen: set[str] = set()
    for key, window in _first_windows(windows):
        if key in seen or windows.start_time_for_partition_key(key) != window.start:
            of = f" of dimension {dimension!r}" if dimension else ""
            raise ValueError(
                f"pipeline {name!r}: two partitions{of} have the key {key!r}, or it leads to neither: the schedule "
                f"{windows.cron_schedule!r} is finer than keys of the form {windows.fmt!r}; expected a key for each. "
                "Remedy: give fmt what tells them apart, such as fmt='%Y-%m-%d-%H:%M'"
            )
        seen.add(key)


def _odd_minute(windows: dg.TimeWindowPartitionsDefinition) -> str | None:
    """Why some window begins within an hour, by the clock on the wall; None where all begin on the hour."""
    for key, _ in _first_windows(windows):
        if ":00" not in key:
            return f"partition {key!r} begins within the hour"
    # A clock that is set by half an hour (Lord Howe Island) takes the hours of the schedule with it.
    day = windows.start.astimezone(UTC)
    end = (windows.end or datetime.now(UTC)).astimezone(UTC) + timedelta(days=366 * _YEARS)
    minutes: set[float] = set()
    while day < end:
        offset = day.astimezone(windows.start.tzinfo).utcoffset() or timedelta()
        minutes.add(offset.total_seconds() % 3600)
        if len(minutes) > 1:
            return f"the clock of {windows.timezone} is set by less than an hour near {day:%Y-%m-%d}"
        day += timedelta(days=1)
    return None
