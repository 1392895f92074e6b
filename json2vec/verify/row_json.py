"""One row as JSON and back, without loss: a row that is copied into a mail must still have its hash."""

from __future__ import annotations

import base64
import decimal
import math
from typing import Any

import pyarrow as pa


def row_to_json(value: pa.Scalar) -> Any:
    """Plain JSON values of one Arrow value.

    NaN and infinities become "nan", "inf" and "-inf", bytes base64, decimals text, times the integer that Arrow stores,
    a map the list of its entries.
    """
    arrow_type: Any = value.type
    scalar: Any = value
    if not scalar.is_valid:
        return None
    if pa.types.is_struct(arrow_type):
        return {field.name: row_to_json(scalar[index]) for index, field in enumerate(arrow_type)}
    if pa.types.is_nested(arrow_type):
        return [row_to_json(item) for item in scalar.values]
    if pa.types.is_dictionary(arrow_type):
        return row_to_json(scalar.value)
    if pa.types.is_floating(arrow_type):
        number = scalar.as_py()
        return number if math.isfinite(number) else str(number)
    if pa.types.is_temporal(arrow_type):
        return scalar.value
    if pa.types.is_decimal(arrow_type):
        return str(scalar.as_py())
    plain = scalar.as_py()
    return base64.b64encode(plain).decode() if isinstance(plain, bytes) else plain


def row_from_json(value: Any, arrow_type: Any) -> Any:
    """The inverse of `row_to_json`: what ``pa.array([...], arrow_type)`` takes.

    Raises:
        ValueError: the value is none of ``arrow_type``.
        TypeError: likewise.
        KeyError: likewise; it has a key that the type lacks.
    """
    if value is None:
        return None
    if pa.types.is_struct(arrow_type):
        if unknown := set(value) - {field.name for field in arrow_type}:
            raise KeyError(f"{sorted(unknown)} are not in {arrow_type}")
        return {field.name: row_from_json(value.get(field.name), field.type) for field in arrow_type}
    if pa.types.is_map(arrow_type):
        return [
            (row_from_json(entry["key"], arrow_type.key_type), row_from_json(entry["value"], arrow_type.item_type))
            for entry in value
        ]
    if pa.types.is_nested(arrow_type):
        return [row_from_json(item, arrow_type.value_type) for item in value]
    if pa.types.is_floating(arrow_type):
        return float(value)
    if pa.types.is_decimal(arrow_type):
        return decimal.Decimal(value)
    types = pa.types
    if types.is_binary(arrow_type) or types.is_large_binary(arrow_type) or types.is_fixed_size_binary(arrow_type):
        return base64.b64decode(value)
    return value


def type_to_json(arrow_type: pa.DataType) -> str:
    """An Arrow type as base64 of its IPC schema message."""
    return base64.b64encode(pa.schema([("value", arrow_type)]).serialize().to_pybytes()).decode()


def type_from_json(text: str) -> pa.DataType:
    """The inverse of `type_to_json`.

    Raises:
        pa.ArrowException: the text is no schema message.
        ValueError: the text is no base64.
    """
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))).field(0).type
