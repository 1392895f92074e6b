"""Arrow types by family: integers of any width are one family, and so are lists of any kind.

No torch, so that schemas can be compared anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

NUMERIC = frozenset({"boolean", "integer", "float", "decimal"})
"""Families whose values are numbers to a field that reads numbers."""

_FAMILIES: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
    ("null", pa.types.is_null),
    ("boolean", pa.types.is_boolean),
    ("integer", pa.types.is_integer),
    ("float", pa.types.is_floating),
    ("decimal", pa.types.is_decimal),
    ("string", lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind)),
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
    """What a type is in one word: ``string``, ``integer``, ``list``, ``object``, ...

    Types of no family, dictionaries and views among them, are their own: the answer is the type as Arrow spells it.
    `json2vec.reading.plain.plain_type` turns those that merely store values in another way into plain ones.
    """
    return next((name for name, test in _FAMILIES if test(kind)), str(kind))
