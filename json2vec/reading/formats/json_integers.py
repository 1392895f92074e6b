"""Integers of JSON that were read as floats: ``{"id": 9007199254740993}`` beside ``{"id": 1.5}``.

Arrow parses a number straight to the column's type, so that nothing is left to compare with. But every integer up to
2**53 is a double, so only rows with a float of at least that size are looked at again, by Python's own parser.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from json2vec.reading.exact import held_exactly

_EXACT_UP_TO = {16: 2.0**11, 32: 2.0**24, 64: 2.0**53}  # by the bits of a float: larger integers may not be one


def large_floats(batch: pa.RecordBatch) -> np.ndarray:
    """int64: the rows of ``batch`` with a float, at any depth, so large that an integer may have been rounded to it."""
    found = np.zeros(batch.num_rows, bool)
    for column in batch.columns:
        if _has_float(column.type):
            found |= _large(column)
    return np.flatnonzero(found)


@lru_cache(maxsize=4096)
def _has_float(kind: Any) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_float(kind.field(i).type) for i in range(kind.num_fields))
    return pa.types.is_floating(kind)


def _large(array: Any) -> np.ndarray:
    kind = array.type
    if not _has_float(kind):
        return np.zeros(len(array), bool)
    if pa.types.is_floating(kind):
        values = array.to_numpy(zero_copy_only=False)
        return np.abs(values) >= _EXACT_UP_TO[kind.bit_width]  # a null is NaN here
    if pa.types.is_struct(kind):
        return np.any([_large(array.field(i)) for i in range(kind.num_fields)], axis=0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(_large(array.values))])
        offsets = before[array.offsets.to_numpy()]
        return offsets[1:] > offsets[:-1]
    return np.ones(len(array), bool)  # a type that JSON seldom gives: every row is looked at


class _Integer(str):
    """The text of an integer."""

    __slots__ = ()


def float_columns(schema: pa.Schema) -> dict[str, Any]:
    """The types of the columns that hold floats, at any depth, by their names."""
    return {field.name: field.type for field in schema if _has_float(field.type)}


def check_integers(line: bytes, columns: dict[str, Any]) -> None:
    """Compare the integers of a JSON object with the float columns that they are read to.

    Args:
        line: the text of the object.
        columns: of `float_columns`.

    Raises:
        ValueError: an integer that its column does not hold; names column and integer.
    """
    record = json.loads(line, parse_int=_Integer)
    floats = (one for name, kind in columns.items() for one in _integers(record.get(name), kind, name))
    for name, number, kind in floats:
        with np.errstate(over="ignore"):
            value = kind.to_pandas_dtype()(float(number))
        if not held_exactly(number, value):
            raise ValueError(
                f"column {name!r} holds the integer {number:.80}, which {kind} does not hold exactly; write it as "
                "text, or say a wider type with input_schema="
            )


def _integers(value: Any, kind: Any, name: str) -> Iterator[tuple[str, str, Any]]:
    """Every integer below ``value`` that was read as a float: where, its text and the float's type."""
    if isinstance(value, _Integer) and pa.types.is_floating(kind):
        yield name, value, kind
    elif isinstance(value, dict) and pa.types.is_struct(kind):
        for f in (f for f in kind if _has_float(f.type)):
            yield from _integers(value.get(f.name), f.type, f"{name}.{f.name}".lstrip("."))
    elif isinstance(value, dict) and pa.types.is_map(kind):
        for key, item in value.items():
            yield from _integers(item, kind.item_type, f"{name}.{key}")
    elif isinstance(value, list) and pa.types.is_nested(kind) and hasattr(kind, "value_type"):
        for item in value:
            yield from _integers(item, kind.value_type, name)
