"""Numbers and booleans of JSON where a column is text: ``{"id": 1}`` beside ``{"id": "1"}``.

Arrow refuses a number in a column that is said to be text. Only blocks that it refused for that come here, where Python
writes their lines anew, with quotes around such values. The text is the one in the file: ``1.50`` stays ``1.50``.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import pyarrow as pa

_CLASH = re.compile(r"changed from string to (number|boolean)")


class _Scalar(str):
    """The text of a number or a boolean."""

    __slots__ = ()


def is_scalar_in_text(reason: str) -> bool:
    """Whether Arrow refused lines since a column of texts holds a number or a boolean."""
    return _CLASH.search(reason) is not None


def scalars_as_texts(lines: list[bytes], schema: pa.Schema) -> bytes:
    """JSON objects, one a line, with texts for numbers and booleans where ``schema`` says text, at any depth.

    Args:
        lines: each is one JSON object.
        schema: what they will be read to.

    Raises:
        ValueError: a line is no JSON object, or has a key twice.
    """
    columns = {field.name: field.type for field in schema}
    return b"\n".join(_rewritten(line, columns) for line in lines)


def _rewritten(line: bytes, columns: dict[str, Any]) -> bytes:
    mark = "\\u0000number"
    while mark.encode() in line:
        mark += "r"
    try:
        record = json.loads(
            line, parse_int=_Scalar, parse_float=_Scalar, parse_constant=_Scalar, object_pairs_hook=_object
        )
        if not isinstance(record, dict):
            raise ValueError("the line is no JSON object")
        plain = mark.replace("\\u0000", "\0")
        made = {key: _texts(value, columns.get(key), plain) for key, value in record.items()}
        text = json.dumps(made)
    except RecursionError:
        raise ValueError("the row is nested too deep to read its numbers as texts") from None
    return re.sub(rf'"{re.escape(mark)}([^"]*)"', r"\1", text).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return made


def _texts(value: Any, kind: Any, mark: str) -> Any:
    """``value`` with a mark before every number that stays a number."""
    if isinstance(value, _Scalar):
        return str(value) if kind is not None and _is_text(kind) else mark + value
    if isinstance(value, bool):
        return json.dumps(value) if kind is not None and _is_text(kind) else value
    if isinstance(value, dict):
        fields = _fields(kind) if kind is not None else {}
        return {key: _texts(item, fields.get(key, fields.get(None)), mark) for key, item in value.items()}
    if isinstance(value, list):
        item_kind = kind.value_type if kind is not None and _is_list(kind) else None
        return [_texts(item, item_kind, mark) for item in value]
    return value


def _is_text(kind: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_list(kind: Any) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


@lru_cache(maxsize=4096)
def _fields(kind: Any) -> dict[str | None, Any]:
    """The types of a struct's fields by name; of a map's items below None."""
    if pa.types.is_struct(kind):
        return {field.name: field.type for field in kind}
    return {None: kind.item_type} if pa.types.is_map(kind) else {}
