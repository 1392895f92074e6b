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
    kind: Any = value.type
    scalar: Any = value
    if not scalar.is_valid:
        return None
    if pa.types.is_struct(kind):
        return {one.name: row_to_json(scalar[index]) for index, one in enumerate(kind)}
    if pa.types.is_nested(kind):
        return [row_to_json(item) for item in scalar.values]
    if pa.types.is_dictionary(kind):
        return row_to_json(scalar.value)
    if pa.types.is_floating(kind):
        number = scalar.as_py()
        return number if math.isfinite(number) else str(number)
    if pa.types.is_temporal(kind):
        return scalar.value
    if pa.types.is_decimal(kind):
        return str(scalar.as_py())
    plain = scalar.as_py()
    return base64.b64encode(plain).decode() if isinstance(plain, bytes) else plain


def row_from_json(value: Any, kind: Any) -> Any:
    """The inverse of `row_to_json`: what ``pa.array([...], kind)`` takes.

    Raises:
        ValueError, TypeError, KeyError: a value that is none of ``kind``.
    """
    if value is None:
        return None
    if pa.types.is_struct(kind):
        if unknown := set(value) - {one.name for one in kind}:
            raise KeyError(f"{sorted(unknown)} are not in {kind}")
        return {one.name: row_from_json(value.get(one.name), one.type) for one in kind}
    if pa.types.is_map(kind):
        return [
            (row_from_json(one["key"], kind.key_type), row_from_json(one["value"], kind.item_type)) for one in value
        ]
    if pa.types.is_nested(kind):
        return [row_from_json(item, kind.value_type) for item in value]
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_decimal(kind):
        return decimal.Decimal(value)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return base64.b64decode(value)
    return value


def type_to_json(kind: pa.DataType) -> str:
    """An Arrow type as base64 of its IPC schema message."""
    return base64.b64encode(pa.schema([("value", kind)]).serialize().to_pybytes()).decode()


def type_from_json(text: str) -> pa.DataType:
    """The inverse of `type_to_json`. Raises pa.ArrowException or ValueError for anything else."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))).field(0).type
