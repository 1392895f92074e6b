"""What a type becomes so that it lasts: `lasting_type`, the one rule for what is read and for what is written.

A shard has ``timestamp[s]``. Parquet has no such type and gives ``timestamp[ms]`` back. So the snapshot says
``timestamp[ms]`` from the start, every value is cast exactly, and what is verified is what all readers see. A type
lasts if pyarrow, polars and DuckDB read the same values of it from the rank files. One that does not becomes one that
does, or is refused by name before the first row is read.

| type | becomes | because |
|---|---|---|
| timestamp[s], time32[s] | ...[ms] | Parquet has no seconds |
| date64 | date32 | Parquet has one kind of date |
| decimal256 | decimal128, of 38 digits at most | polars and DuckDB know 38 digits |
| decimals of a negative scale, or one above the precision | decimals of all their digits | Parquet has no such scale |
| fixed_size_list of size 0, fixed_size_binary of 0 bytes | list, binary | no reader gives those back |
| a zone that is an offset, as +05:30 | UTC, in rank files only | polars knows names of zones, and whole hours |
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from json2vec.errors import ReadError
from json2vec.reading.limits import MAX_DEPTH, depth_message
from json2vec.reading.plain import plain_type

__all__ = ["MAX_LISTS", "Refused", "lasting_schema", "lasting_type", "refusal"]

MAX_LISTS = 16
"""Lists and maps that may lie in one another: DuckDB needs twice the time for each, 0.2 s for 16, 0.8 s for 20, hours
for 30."""
_DIGITS = 38
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)?")
_UTC = ("utc", "z", "zulu")
_UNKNOWN_ELSEWHERE = {"localtime", "Factory"}  # of this machine, or no zone at all
_LEAVE_OUT = "leave the column out with input_schema="


@dataclass(frozen=True)
class Refused:
    """A type that cannot be kept.

    Attributes:
        path: where it is inside the column, as ``.a[]``; empty for the column's own type.
        kind: the type.
        reason: why, as the end of a sentence that begins with the type.
        remedy: what to do about it.
    """

    path: str
    kind: pa.DataType
    reason: str
    remedy: str


def lasting_type(kind: pa.DataType, *, zones: bool = False) -> pa.DataType | Refused:
    """The type in which rank files keep the values of ``kind``, or why they cannot.

    Fields keep their names and whether they are nullable. The same type comes back where nothing is to be changed.

    Args:
        kind: any Arrow type.
        zones: keep offsets such as +05:30, as a snapshot's schema does: processors see local hours.
    """
    return _lasting(kind, zones)


def lasting_schema(schema: pa.Schema, where: str) -> pa.Schema:
    """``schema`` in types that last, for a snapshot; offsets stay zones.

    Args:
        schema: of plain types (see `json2vec.reading.plain`).
        where: what has the schema, for messages.

    Raises:
        ReadError: a type that cannot be kept; names the column and the remedy.
    """
    fields = []
    for field in schema:
        kind = lasting_type(field.type, zones=True)
        if isinstance(kind, Refused):
            raise ReadError(f"{where}: {refusal(field.name, kind)}")
        fields.append(field if kind.equals(field.type) else field.with_type(kind))
    return pa.schema(fields)


def refusal(column: str, refused: Refused) -> str:
    """What to say of the column: the sentence and its remedy."""
    kind = str(refused.kind)
    kind = kind if len(kind) <= 200 else kind[:197] + "..."
    return f"column {column + refused.path!r} has type {kind}, {refused.reason}. Remedy: {refused.remedy}"


@lru_cache(maxsize=4096)
def _lasting(kind: Any, zones: bool) -> pa.DataType | Refused:
    depth, lists = _depth(kind)
    if depth > MAX_DEPTH:
        return Refused("", kind, f"which is too deep: {depth_message()}", _LEAVE_OUT)
    if lists > MAX_LISTS:
        reason = f"in which {lists} lists and maps lie in one another; expected at most {MAX_LISTS}, which readers bear"
        return Refused("", kind, reason, f"write fewer levels, or {_LEAVE_OUT}")
    return _of(kind, zones)


def _of(kind: Any, zones: bool) -> pa.DataType | Refused:
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _of(kind.value_type, zones)
    if isinstance(kind, pa.BaseExtensionType):
        return _of(kind.storage_type, zones)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return plain_type(kind)
    if types.is_nested(kind):
        return _nested(kind, zones)
    if types.is_timestamp(kind):
        return _timestamp(kind, zones)
    if types.is_time32(kind):
        return pa.time32("ms")
    if types.is_date64(kind):
        return pa.date32()
    if types.is_decimal(kind):
        return _decimal(kind)
    if types.is_fixed_size_binary(kind) and not kind.byte_width:
        return pa.binary()
    if types.is_interval(kind):
        remedy = f"write it as a duration or an integer, or {_LEAVE_OUT}"
        return Refused("", kind, "which Parquet does not hold", remedy)
    return kind


def _timestamp(kind: Any, zones: bool) -> pa.DataType | Refused:
    unit, zone = "ms" if kind.unit == "s" else kind.unit, kind.tz
    if zone is None:
        return pa.timestamp(unit)
    if zone.lower() in _UTC:
        return pa.timestamp(unit, "UTC")
    if found := _OFFSET.fullmatch(zone):
        sign, hours, minutes = found[1], found[2], found[3] or "00"
        if int(hours) < 24 and int(minutes) < 60:
            return pa.timestamp(unit, f"{sign}{hours}:{minutes}" if zones else "UTC")
    elif zone in _names():
        return pa.timestamp(unit, zone)
    remedy = "say input_schema= with the zone 'UTC' or another"
    return Refused("", kind, f"whose time zone {zone!r} nobody knows", remedy)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - _UNKNOWN_ELSEWHERE)


def _decimal(kind: Any) -> pa.DataType | Refused:
    scale = min(max(kind.scale, 0), _DIGITS)
    whole = kind.precision - kind.scale  # digits before the point
    if kind.bit_width == 256:  # few values have so many digits: those that do not fit are errors of their rows
        return pa.decimal128(min(max(whole + scale, scale, 1), _DIGITS), scale)
    if kind.scale < 0 or kind.scale > kind.precision:
        digits = max(whole + scale, scale)
        if digits > _DIGITS or kind.scale > _DIGITS:
            reason = f"whose digits take {max(digits, kind.scale)} places; Parquet's decimals are read with {_DIGITS}"
            return Refused("", kind, reason, "say input_schema= with another decimal")
        return pa.decimal128(digits, scale)
    return kind


def _nested(kind: Any, zones: bool) -> pa.DataType | Refused:
    types = pa.types
    if types.is_union(kind):
        remedy = f"write one type, or a column for each, or {_LEAVE_OUT}"
        return Refused("", kind, "which Parquet does not hold", remedy)
    if types.is_struct(kind):
        names = [field.name for field in kind]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            return Refused("", kind, f"whose fields {twice} occur more than once", "rename them")
        return _fields(list(kind), [f".{name}" for name in names], zones, pa.struct)
    if types.is_map(kind):
        fields = [kind.key_field, kind.item_field]
        return _fields(fields, [".key", ".value"], zones, lambda made: pa.map_(*made))
    large = types.is_large_list(kind) or types.is_large_list_view(kind)
    size = kind.list_size if types.is_fixed_size_list(kind) else 0
    if types.is_map(kind.value_type) and types.is_null(kind.value_type.item_type):
        size = 0  # pyarrow reads lists of one size, of maps without any value, with children of another length

    def make(made: list[pa.Field]) -> pa.DataType:
        return pa.large_list(made[0]) if large else pa.list_(made[0], size or -1)

    return _fields([kind.value_field], ["[]"], zones, make)


def _fields(
    fields: list[pa.Field], paths: list[str], zones: bool, make: Callable[[list[pa.Field]], pa.DataType]
) -> pa.DataType | Refused:
    made = []
    for field, path in zip(fields, paths, strict=True):
        inner = _of(field.type, zones)
        if isinstance(inner, Refused):
            return Refused(path + inner.path, inner.kind, inner.reason, inner.remedy)
        made.append(field.with_type(inner))
    return make(made)


def _depth(kind: Any) -> tuple[int, int]:
    """How many containers lie in one another, and how many of them are lists or maps; a map is two, as Arrow's."""
    deepest = most = 0
    level: list[tuple[Any, int, int]] = [(kind, 0, 0)]
    while level:  # not recursive: Python would give up first
        one, depth, lists = level.pop()
        deepest, most = max(deepest, depth), max(most, lists)
        if deepest > 10 * MAX_DEPTH:
            break
        if pa.types.is_nested(one):
            is_map, is_struct = pa.types.is_map(one), pa.types.is_struct(one) or pa.types.is_union(one)
            inner = [one.key_type, one.item_type] if is_map else [one.field(i).type for i in range(one.num_fields)]
            below = depth + (2 if is_map else 1), lists + (0 if is_struct else 1)
            level += [(child, *below) for child in inner] or [(pa.null(), *below)]
    return deepest, most
