"""What Arrow rows are as records: `records`, and what a value is as a label: `texts` and `keys`.

A row ``{"at": time64[ns] 09:30, "attrs": map {"color": "red"}}`` is ``{"at": time(9, 30), "attrs": {"color": "red"}}``
to every function that takes dicts. The type that stores a value never shows: 09:30 is the same in any unit, and so is
``red`` in a dictionary or a view.

A map is a dict: its keys are text, and of a repeated key the last value counts, as in JSON and Parquet. A time that
Python's classes do not hold exactly (nanoseconds below the microsecond, years past 9999) is its ISO 8601 text, so that
no digit is lost.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from json2vec.reading.plain import plain, spans
from json2vec.reading.row_hash import decimal_texts

__all__ = ["has_inexact_times", "key_of", "keys", "record_json", "records", "text_keys", "texts", "values"]

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

_INEXACT = (pa.ArrowInvalid, OverflowError, ValueError)  # Python's classes do not hold one of the times
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}


def records(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Each of N rows as a dict.

    Args:
        batch: N rows of any types that have a row hash.
    """
    if not batch.num_columns:
        return [{} for _ in range(batch.num_rows)]
    return _dicts(batch.schema.names, [values(column) for column in batch.columns])


def values(array: pa.Array) -> list[Any]:
    """Each of N values as a Python object; None where it is null.

    | Arrow | Python |
    | --- | --- |
    | null | None |
    | boolean, integers, floats | bool, int, float |
    | decimals | Decimal |
    | strings | str |
    | binaries | bytes |
    | dates | date |
    | timestamps | datetime, with the column's zone |
    | times of day | time |
    | durations | timedelta |
    | lists | list |
    | struct, map | dict |
    """
    return _values(plain(array))


def _values(array: Any) -> list[Any]:
    """``array``: plain."""
    kind = array.type
    if pa.types.is_struct(kind):
        fields = [array.field(i) for i in range(kind.num_fields)]
        made = _dicts([f.name for f in kind], [_values(f) for f in fields]) if fields else [{} for _ in array]
        return _with_nulls(made, array)
    if pa.types.is_map(kind):
        offsets, begin, end = spans(array)
        names = _key_texts(array.keys.slice(begin, end - begin)).to_pylist()
        pairs = list(zip(names, _values(array.items.slice(begin, end - begin)), strict=True))
        return _with_nulls([dict(pairs[a:b]) for a, b in itertools.pairwise(offsets.tolist())], array)
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        items = _values(array.values.slice(array.offset * size, len(array) * size))
        return _with_nulls([items[i * size : (i + 1) * size] for i in range(len(array))], array)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets, begin, end = spans(array)
        items = _values(array.values.slice(begin, end - begin))
        return _with_nulls([items[a:b] for a, b in itertools.pairwise(offsets.tolist())], array)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array.to_numpy(zero_copy_only=False).tolist()  # faster than to_pylist, which makes a scalar of each
    if (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and not array.null_count:
        return array.to_numpy(zero_copy_only=False).tolist()
    return _times(array) if pa.types.is_temporal(kind) else array.to_pylist()


def _dicts(names: list[str], columns: list[list[Any]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [{} for _ in columns[0]]
    for name, column in zip(names, columns, strict=True):  # column by column takes half the time of row by row
        for row, value in zip(made, column, strict=True):
            row[name] = value
    return made


def _with_nulls(made: list[Any], array: Any) -> list[Any]:
    if array.null_count:
        for index in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
            made[index] = None
    return made


def _times(array: Any) -> list[Any]:
    """Times in any unit as Python has them, to the microsecond; those that it has not as text."""
    try:
        return _microseconds(array, True).to_pylist()
    except _INEXACT:
        if len(array) > 1:
            return [value for i in range(len(array)) for value in _times(array.slice(i, 1))]
        return [_iso(array[0])]


def has_inexact_times(array: pa.Array) -> bool:
    """Whether `values` of a nested array has a text for a time that Python's classes do not hold."""
    return _has_inexact(plain(array))


def _has_inexact(array: Any) -> bool:
    kind = array.type
    if pa.types.is_struct(kind):
        return any(_has_inexact(array.field(i)) for i in range(kind.num_fields))
    if pa.types.is_map(kind):
        return _has_inexact(array.items)
    if pa.types.is_nested(kind):
        return _has_inexact(array.values)
    if not pa.types.is_temporal(kind):
        return False
    try:
        _microseconds(array, True).to_pylist()
    except _INEXACT:
        return True
    return False


def _microseconds(array: Any, safe: bool) -> Any:
    kind = array.type
    if pa.types.is_timestamp(kind):
        return pc.cast(array, pa.timestamp("us", kind.tz), safe=safe)
    if pa.types.is_time(kind):
        return pc.cast(array, pa.time64("us"), safe=safe)
    if pa.types.is_duration(kind):
        return pc.cast(array, pa.duration("us"), safe=safe)
    return array


def _iso(value: Any) -> str:
    """ISO 8601 text of a time, with every digit that the type has; a time with a zone in UTC."""
    kind, ticks = value.type, value.value
    if pa.types.is_date(kind):
        return str(np.datetime64(ticks, "D") if pa.types.is_date32(kind) else np.datetime64(ticks, "ms"))
    if pa.types.is_timestamp(kind):
        return str(np.datetime64(ticks, kind.unit)) + ("Z" if kind.tz else "")
    seconds, rest = divmod(abs(ticks) * _NANOSECONDS[kind.unit], 10**9)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    if pa.types.is_duration(kind):
        return f"{'-' if ticks < 0 else ''}PT{seconds}{fraction}S"
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"


def record_json(record: Mapping[str, Any]) -> str:
    """A record as a line of JSON, for people to read: bytes as text, or base64 where they are none; times as text."""
    return json.dumps(record, default=_shown, ensure_ascii=False)


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return str(value)


def texts(array: pa.Array) -> pa.Array:
    """Each of N values as its text, in Arrow: the label that it is, or the key in a dict.

    ``09:30:00.000000`` for a time of day of any unit, ``2026-01-31 10:00:00.000000+0100`` for a timestamp with a zone,
    both to the microsecond; for a duration its microseconds; for bytes the UTF-8 text that they are.

    Raises:
        pa.ArrowException: values without text, such as lists, or bytes that are no UTF-8.
    """
    array = plain(array)
    if pa.types.is_temporal(array.type):
        array = _microseconds(array, False)
    if pa.types.is_fixed_size_binary(array.type):
        array = array.cast(pa.binary())
    return array if pa.types.is_string(array.type) else pc.cast(array, pa.string())


def keys(array: pa.Array) -> pa.Array:
    """Text that is equal for equal values, whatever type they are stored in: a label, or what `key_of` gives for it.

    As `texts`, but a timestamp with a zone is spelled in UTC, and a decimal without regard to its scale.
    """
    array = plain(array)
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = pc.cast(array, pa.timestamp("us", "UTC"), safe=False)
    if pa.types.is_decimal(array.type):
        return pc.binary_join_element_wise(_NUMBER, decimal_texts(array).cast(pa.string()), "")
    return texts(array)


_NUMBER = "the decimal "
_AWARE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6})([+-])(\d\d):?(\d\d)")
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def key_of(label: str) -> str:
    """The key (see `keys`) of the timestamp with a zone, or the decimal, whose text (see `texts`) is ``label``.

    Other labels are keys themselves. So may this one be: ``1.10`` is the text of a decimal, and of bytes.
    """
    if found := _AWARE.fullmatch(label):
        at, sign, hours, minutes = found.groups()
        offset = np.timedelta64(int(sign + "1") * (60 * int(hours) + int(minutes)), "m")
        try:
            return str(np.datetime64(at, "us") - offset).replace("T", " ") + "Z"
        except ValueError:  # looks like a time, as 2026-02-31 does
            return label
    if _DECIMAL.fullmatch(label):
        sign, digits, exponent = Decimal(label).as_tuple()
        text = "".join(map(str, digits)).lstrip("0")
        shorter = text.rstrip("0")
        assert isinstance(exponent, int)
        return _NUMBER + (f"{'-' * sign}{shorter}E{exponent + len(text) - len(shorter)}" if shorter else "0E0")
    return label


def text_keys(maps: Any) -> Any:
    """A map array with its keys as `texts`; ``maps`` itself where they are."""
    kind = maps.type
    if pa.types.is_string(kind.key_type) or pa.types.is_large_string(kind.key_type):
        return maps
    offsets, begin, end = spans(maps)
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), _key_texts(maps.keys.slice(begin, end - begin)),
        maps.items.slice(begin, end - begin), mask=maps.is_null() if maps.null_count else None,
    )  # fmt: skip


def _key_texts(array: Any) -> Any:
    try:
        return texts(array)
    except (pa.ArrowException, NotImplementedError):  # bytes that are no text, lists
        shown = (_shown(v) if isinstance(v, bytes) else json.dumps(v, default=_shown) for v in values(array))
        return pa.array(shown, pa.string())
