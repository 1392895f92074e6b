"""Arrow types in the words of the contract: families, and whether a field reads one as it read the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from json2vec.contract.breach import Severity
from json2vec.schema.nodes import Leaf

NUMERIC = frozenset({"boolean", "integer", "float", "decimal"})

_FAMILIES: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("null", pa.types.is_null),
    ("boolean", pa.types.is_boolean),
    ("integer", pa.types.is_integer),
    ("float", pa.types.is_floating),
    ("decimal", pa.types.is_decimal),
    ("text", lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind)),
    ("binary", lambda k: pa.types.is_binary(k) or pa.types.is_large_binary(k) or pa.types.is_fixed_size_binary(k)),
    ("date", pa.types.is_date),
    ("timestamp", pa.types.is_timestamp),
    ("time", pa.types.is_time),
    ("duration", pa.types.is_duration),
    ("list", lambda k: pa.types.is_list(k) or pa.types.is_large_list(k) or pa.types.is_fixed_size_list(k)),
    ("object", pa.types.is_struct),
    ("map", pa.types.is_map),
)


def family(kind: pa.DataType) -> str:
    """What a plain type (`json2vec.reading.conform.plain_type`) is: text, integer, list, object, ..."""
    return next((name for name, test in _FAMILIES if test(kind)), str(kind))


def spell(kind: Any, *, width: int = 120) -> str:
    """A type as producers speak of it."""
    name = family(kind)
    if name == "text":
        return "string"
    if name == "list":
        size = f" of {kind.list_size}" if pa.types.is_fixed_size_list(kind) else ""
        return f"list{size} of {spell(kind.value_type, width=width)}"
    if name == "map":
        return f"map of {spell(kind.key_type)} to {spell(kind.item_type, width=width)}"
    if name == "object":
        text = ", ".join(f"{child.name}: {spell(child.type, width=width)}" for child in kind)
        return f"object {{{text if len(text) <= width else text[: width - 3] + '...'}}}"
    return "null (every value is missing)" if name == "null" else str(kind)


def child_type(kind: Any, key: str | None) -> pa.DataType | None:
    """The type below a key of an object or map; None where an object has no such key."""
    if pa.types.is_map(kind):
        return kind.item_type
    index = kind.get_field_index(key) if key is not None and pa.types.is_struct(kind) else -1
    return kind.field(index).type if index >= 0 else None


Verdict = tuple[Severity, str] | None
"""None: the field reads both alike. Else how bad it is, and why."""

_SAME_VALUES = "the model reads the same values, but the producers changed the type"


def judge(leaf: Leaf | None, expected: Any, found: Any, *, inferred: bool) -> Verdict:
    """Whether a leaf reads ``found`` as it read ``expected``.

    Args:
        leaf: None judges a column that some code reads, not a field.
        inferred: one of the types was inferred from values, as in NDJSON, and may differ from day to day.
    """
    rules: dict[str, Callable[[Any, Any, Any], Verdict]] = {
        "number": _number, "category": _label, "set": _labels, "dateparts": _date, "vector": _vector,
        "entity": _entity, "text": _any_type,
    }  # fmt: skip
    verdict = rules.get(leaf.type if leaf else "", _any_type)(leaf, expected, found)
    return ("info", verdict[1]) if verdict and verdict[0] == "warning" and inferred else verdict


def _number(leaf: Any, expected: Any, found: Any) -> Verdict:
    was, now = family(expected), family(found)
    if now not in NUMERIC:
        if now == "text" and was == "text":
            return None
        return "error", "the field reads numbers"
    if was not in NUMERIC:
        return "warning", _SAME_VALUES
    if was == "float" and now == "integer":
        return "warning", "fractions of the values may have been lost"
    if was == now or (was, now) == ("integer", "float"):
        return _unsigned(expected, found)
    return "warning", _SAME_VALUES


def _unsigned(expected: Any, found: Any) -> Verdict:
    if pa.types.is_uint64(found) and not pa.types.is_uint64(expected):
        return "warning", "values of 2**63 and more are possible now, where negative numbers were"
    return None


def _label(leaf: Any, expected: Any, found: Any) -> Verdict:
    was, now = family(expected), family(found)
    if was == now:
        if now == "decimal" and not expected.equals(found):
            return "error", "labels are compared as text, and another scale spells other labels"
        if now == "timestamp":
            return _zones(expected, found, "error")
        return _unsigned(expected, found) if now == "integer" else None
    if {was, now} <= {"integer", "float"}:
        return "info", "1 and 1.0 are one label"
    if {was, now} <= {"integer", "float", "boolean"}:
        return "warning", "true and 1 are one label"
    if {was, now} == {"text", "binary"}:
        return "warning", "the bytes are read as UTF-8"
    return "error", "labels of the vocabulary have another type: none of these is known to the model"


def _labels(leaf: Any, expected: Any, found: Any) -> Verdict:
    if family(expected) == family(found) == "list":
        return _label(leaf, expected.value_type, found.value_type)
    if "list" in (family(expected), family(found)):
        return "error", "a set is a list of labels"
    return _label(leaf, expected, found)


def _date(leaf: Any, expected: Any, found: Any) -> Verdict:
    was, now = family(expected), family(found)
    if now not in ("date", "timestamp", "text", "integer"):
        return "error", "the field reads dates"
    if was == now == "timestamp":
        return _zones(expected, found, "error")
    if was == now:
        return None
    if "integer" in (was, now):
        return "error", "a whole number says nothing about its unit and epoch"
    if now == "date" and {"hour_of_day", "minute_of_hour"} & set(leaf.dateparts):
        return "error", "the model reads the time of day, which a date has not"
    return "warning", _SAME_VALUES + "; texts must be ISO 8601 or fit the field's pattern"


def _zones(expected: Any, found: Any, severity: Severity) -> Verdict:
    if (expected.tz is None) != (found.tz is None):
        return severity, "times with a zone are read in UTC, times without one as they are written"
    if not expected.equals(found):
        return "info", "the same instants in another unit or zone"
    return None


def _vector(leaf: Any, expected: Any, found: Any) -> Verdict:
    if family(found) != "list" or family(found.value_type) not in NUMERIC - {"boolean"}:
        return "error", f"the field reads lists of {leaf.n_dim} numbers"
    if pa.types.is_fixed_size_list(found) and found.list_size != leaf.n_dim:
        return "error", f"the model reads exactly {leaf.n_dim} numbers"
    return None


def _entity(leaf: Any, expected: Any, found: Any) -> Verdict:
    if family(found) in ("list", "object", "map"):
        return "error", "the field compares single values"
    if family(expected) != family(found):
        return "info", "values are only compared within a record"
    return None


def _any_type(leaf: Any, expected: Any, found: Any) -> Verdict:
    was, now = family(expected), family(found)
    if was == now == "timestamp":
        return _zones(expected, found, "error")
    if was == now:
        return None
    if {was, now} <= {"integer", "float"}:
        return "warning", "whole numbers and fractions may be treated differently"
    return "error", "what reads the column was made for the other type"
