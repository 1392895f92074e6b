"""Partitions from plain configuration, and the one function that turns a partition key into a folder name.

A partition is a folder below the pipeline's inputs, for example ``dt=2013-01-20/`` for the key ``2013-01-20`` and the
template ``dt={partition}``. Keys come from people and from bucket listings, so they are never trusted as paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import quote, unquote
from zoneinfo import available_timezones

import dagster as dg

MAX_FOLDER_BYTES = 200
"""Longest folder name made of a key, in UTF-8 bytes: most file systems end at 255, and temporary names add some."""

PLACEHOLDER = "{partition}"
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\%]")
_DATE_PART = re.compile(r"\{partition:([^{}]*)\}")
_DIRECTIVES = ("%Y", "%m", "%d", "%H", "%M")
_DIRECTIVE = re.compile("|".join(_DIRECTIVES))
_DAILY, _HOURLY = "%Y-%m-%d", "%Y-%m-%d-%H:%M"
_OFFSET = re.compile(r"(?<=:[0-9]{2})[+-][0-9]{4}$")


class PartitionKeyError(ValueError):
    """A partition key that cannot be a folder."""


def partition_folder(key: str, template: str = "dt={partition}") -> str:
    """The folder of a partition, relative to the root of inputs or outputs.

    Slashes, backslashes, percent signs, control characters and a leading dot are percent-encoded, so that two keys
    never share a folder and no key leaves the root; every other character stays as it is.

    Args:
        key: the partition key.
        template: a relative folder with ``{partition}`` exactly once, in its last part; or with date parts, such as
            ``year={partition:%Y}/month={partition:%m}/day={partition:%d}``: of hourly keys with ``%H``, else of daily.
            Where a clock is set back, Dagster's second ``2025-11-02-01:00`` is ``2025-11-02-01:00-0500``; its ``%H`` is
            ``01-0500``.

    Raises:
        PartitionKeyError: an empty key, one with a NUL, one whose folder is longer than `MAX_FOLDER_BYTES` bytes, or
            one that is no date where the template wants one.
        ValueError: a template that cannot be meant.
    """
    check_template(template)
    if has_date_parts(template):
        moment, offset = _parse(key, template)
        return moment.strftime(_spelled(template).replace("%H", f"%H{offset}"))
    if not key or "\0" in key:
        raise PartitionKeyError(
            f"partition key {key!r} is empty or holds a NUL character; expected text that can name a folder. "
            "Remedy: choose another key"
        )
    encoded = _UNSAFE.sub(lambda match: quote(match.group(), safe=""), key)
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    # A key of dots alone is harmless behind a prefix, but the template may be the placeholder alone.
    folder = template.replace(PLACEHOLDER, encoded)
    length = len(folder.rpartition("/")[2].encode())
    if length > MAX_FOLDER_BYTES:
        raise PartitionKeyError(
            f"partition key {key[:40]!r}... makes a folder name of {length} bytes; expected at most "
            f"{MAX_FOLDER_BYTES}. Remedy: choose a shorter key"
        )
    return folder


def partition_of(folder: str, template: str = "dt={partition}") -> str | None:
    """The key whose `partition_folder` is ``folder``; None where there is no such key."""
    check_template(template)
    if has_date_parts(template):
        key = _date_key(folder, template)
    else:
        before, _, after = template.partition(PLACEHOLDER)
        if not (folder.startswith(before) and folder.endswith(after) and len(folder) > len(before) + len(after)):
            return None
        key = unquote(folder[len(before) : len(folder) - len(after)])
    try:
        return key if key is not None and partition_folder(key, template) == folder else None
    except PartitionKeyError:
        return None


def has_date_parts(template: str) -> bool:
    """Whether a folder template lays keys out by year, month, day and hour."""
    return _DATE_PART.search(template) is not None


def key_format(template: str) -> str:
    """The form of the keys that a template with date parts takes: Dagster's own, of daily or of hourly partitions."""
    return _HOURLY if "%H" in template else _DAILY


def output_template(template: str) -> str:
    """The template of the folders that we write ourselves: one folder a partition, however the inputs are laid out."""
    return "dt={partition}" if has_date_parts(template) else template


def _parse(key: str, template: str) -> tuple[datetime, str]:
    """The moment of a key by the clock on the wall, and the offset from UTC that Dagster adds to the second of two."""
    form = key_format(template)
    found = _OFFSET.search(key) if form == _HOURLY else None
    offset = found.group() if found else ""
    try:
        moment = datetime.strptime(key.removesuffix(offset), form)
    except ValueError:
        moment = None
    # Other digits than 0 to 9, years that strftime shortens, and minutes that the folder does not say share folders.
    same = moment is not None and moment.strftime(form) + offset == key and moment.year >= 1000
    if moment is None or not same or (moment.minute and "%M" not in template):
        raise PartitionKeyError(
            f"partition key {key[:40]!r} is no date of the form {form}, which the folder template's date parts need"
            f"{', on the hour' if '%H' in template and '%M' not in template else ''}. "
            "Remedy: take daily partitions, hourly ones with %H, those within the hour with %M, or the template "
            "'dt={partition}'"
        )
    return moment, offset


def _spelled(template: str) -> str:
    """A template with date parts as one format: braces gone, ``%`` only in `_DIRECTIVES`."""
    return _DATE_PART.sub(lambda match: match.group(1), template)


def _date_key(folder: str, template: str) -> str | None:
    """The key that a folder of date parts spells. Where it spells two, the last of each part; the caller compares."""
    pieces = re.split(f"({_DIRECTIVE.pattern})", _spelled(template))
    digits = {"%Y": "([0-9]{4})", "%H": "([0-9]{2}(?:[+-][0-9]{4})?)"}
    pattern = "".join(digits.get(piece, "([0-9]{2})") if piece in _DIRECTIVES else re.escape(piece) for piece in pieces)
    matched = re.fullmatch(pattern, folder)
    if matched is None:
        return None
    part = dict(zip((piece for piece in pieces if piece in _DIRECTIVES), matched.groups(), strict=True))
    hour = part.get("%H", "")
    time = f"-{hour[:2]}:{part.get('%M', '00')}{hour[2:]}" if hour else ""
    return f"{part['%Y']}-{part['%m']}-{part['%d']}{time}"


def fixed_part(template: str) -> str:
    """The folders of a template before the first one that depends on the partition; may be empty."""
    parts = template.split("/")
    return "/".join(parts[: next(index for index, part in enumerate(parts) if "{" in part)])


def check_template(template: str) -> None:
    """Raise ValueError unless ``template`` is a relative folder with the placeholder once, in its last part, or with
    the date parts year, month and day."""
    plain = _DIRECTIVE.sub("0", _spelled(template)) if has_date_parts(template) else template
    parts = plain.split("/")
    relative = not any(part in ("", ".", "..") for part in parts)
    if has_date_parts(template):
        named, last = set(_DIRECTIVE.findall(_spelled(template))), _spelled(template).rpartition("/")[2]
        clean = not _UNSAFE.search(plain.replace("/", "")) and not set("{}") & set(plain)
        whole = named >= {"%Y", "%m", "%d"} and named != {"%Y", "%m", "%d", "%M"}
        if relative and clean and whole and _DIRECTIVE.search(last):
            return
    elif relative and template.count(PLACEHOLDER) == 1 and PLACEHOLDER in parts[-1]:
        return
    raise ValueError(
        f"folder template {template!r}: expected a relative folder that holds {PLACEHOLDER} exactly once, in its "
        "last part, such as 'dt={partition}', or date parts %Y, %m, %d and maybe %H, or %H and %M, such as "
        "'year={partition:%Y}/month={partition:%m}/day={partition:%d}' or '{partition:%Y/%m/%d/%H}'"
    )


def build_partitions(config: Mapping[str, Any] | dg.PartitionsDefinition, *, name: str) -> dg.PartitionsDefinition:
    """A partitions definition from plain values.

    Args:
        config: a ready definition, or a mapping with ``kind`` and

            - ``daily``: ``start`` (date), optional ``end`` (date, exclusive), ``timezone`` (default UTC);
            - ``hourly``: ``start`` (``YYYY-MM-DD-HH:MM``), optional ``end`` (exclusive), ``timezone``;
            - ``static``: ``keys``, a list of strings;
            - ``dynamic``: optional ``name`` (default: the pipeline's name); keys are added by the sensor or by hand.
        name: the pipeline's name.

    Raises:
        ValueError: an unknown kind or option, or one that is missing.
    """
    if isinstance(config, dg.PartitionsDefinition):
        return config
    if not isinstance(config, Mapping):
        raise ValueError(f"partitions of pipeline {name!r} are {config!r}; expected a mapping, as in kind: daily")
    options = dict(config)
    kind = options.pop("kind", None)
    allowed = {
        "daily": {"start", "end", "timezone"},
        "hourly": {"start", "end", "timezone"},
        "static": {"keys"},
        "dynamic": {"name"},
    }
    if kind not in allowed:
        raise ValueError(f"partitions of pipeline {name!r}: kind is {kind!r}; expected one of {sorted(allowed)}")
    unknown = sorted(set(options) - allowed[kind])
    required = {"daily": "start", "hourly": "start", "static": "keys"}.get(kind)
    if unknown or (required and required not in options):
        raise ValueError(
            f"partitions of pipeline {name!r}: kind {kind!r} takes {sorted(allowed[kind])}"
            f"{f', {required} is required' if required else ''}; got {sorted(options)}"
        )
    if kind == "static":
        if isinstance(options["keys"], str) or not isinstance(options["keys"], Iterable):
            raise ValueError(f"partitions of pipeline {name!r}: keys is {options['keys']!r}; expected a list of texts")
        keys = [str(key) for key in options["keys"]]
        for key in keys:
            partition_folder(key)
        return dg.StaticPartitionsDefinition(keys)
    if kind == "dynamic":
        return dg.DynamicPartitionsDefinition(name=options.get("name", name))
    timezone = options.get("timezone", "UTC")
    if timezone not in available_timezones():
        raise ValueError(f"partitions of pipeline {name!r}: timezone is {timezone!r}; expected one as Europe/Berlin")
    window = dg.DailyPartitionsDefinition if kind == "daily" else dg.HourlyPartitionsDefinition
    return window(
        start_date=_moment(options["start"], kind),
        end_date=_moment(options["end"], kind) if options.get("end") is not None else None,
        timezone=timezone,
    )


def _moment(value: Any, kind: str) -> str:
    # YAML turns an unquoted date into a date object.
    if isinstance(value, (date, datetime)):
        return value.strftime("%Y-%m-%d" if kind == "daily" else "%Y-%m-%d-%H:%M")
    return str(value)
