"""Which type holds the values of two: `unite`. One place decides, for blocks of a file, files and observations.

``unite(pa.int64(), pa.float64())`` is double. The answer never means that every value fits: 2**53 + 1 does not fit a
double. `json2vec.reading.exact.cast` brings values to the united type, exactly or not at all.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

__all__ = ["integer_digits", "unite", "unite_schemas"]

_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}  # of the largest integer of so many bits, with a sign; uint64 has one more
_DECIMALS = ((32, 9, pa.decimal32), (64, 18, pa.decimal64), (128, 38, pa.decimal128), (256, 76, pa.decimal256))


def unite(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """The type that holds values of ``a`` and of ``b``, or None where there is none.

    Null beside anything is that thing. Integers, floats, units of time, texts and lists become the wider one. A decimal
    beside an integer is a decimal with room for both, and beside a float of any width a double. A struct has the
    fields of both. Times with and without a zone, of different zones, and dates beside times stay apart.

    Args:
        a, b: plain types (see `json2vec.reading.plain`).
    """
    if a.equals(b) or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        return _structs(a, b)
    if pa.types.is_map(a) and pa.types.is_map(b):
        return _maps(a, b)
    if _is_list(a) and _is_list(b):
        return _lists(a, b)
    for decimal, other in ((a, b), (b, a)):
        if pa.types.is_decimal(decimal) and pa.types.is_integer(other):
            return _decimal(decimal, other)
        if pa.types.is_decimal(decimal) and pa.types.is_floating(other):
            return pa.float64()
    return _wider(a, b)


def unite_schemas(a: pa.Schema, b: pa.Schema) -> pa.Schema:
    """The columns of ``a``, then those that only ``b`` has, in united types.

    Raises:
        pa.ArrowTypeError: a column has types without a common one; names it.
    """
    fields = {f.name: f for f in a}
    for f in b:
        old = fields.setdefault(f.name, f)
        kind = unite(old.type, f.type)
        if kind is None:
            raise pa.ArrowTypeError(f"column {f.name!r}: neither of {old.type} and {f.type} holds the other")
        fields[f.name] = old if kind.equals(old.type) else pa.field(f.name, kind)
    return pa.schema(list(fields.values()))


def _wider(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    try:
        schemas = [pa.schema([("x", a)]), pa.schema([("x", b)])]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None


def integer_digits(kind: Any) -> int:
    """How many decimal digits the largest integer of a type has: 3 for int8, 20 for uint64."""
    return 20 if pa.types.is_uint64(kind) else _DIGITS[kind.bit_width]


def _decimal(decimal: Any, integer: Any) -> pa.DataType:
    digits = integer_digits(integer)
    scale = max(decimal.scale, 0)
    precision = max(decimal.precision - decimal.scale, digits) + scale
    # Nothing wider than 128 bits unless it was: few readers know it. What does not fit then is an error of its row.
    widest = max(decimal.bit_width, 128)
    precision = min(precision, 38 if widest == 128 else 76)
    make = next(make for bits, most, make in _DECIMALS if bits >= decimal.bit_width and precision <= most)
    return make(precision, scale)


def _structs(a: Any, b: Any) -> pa.DataType | None:
    fields = {f.name: f.type for f in a}
    if len(fields) < a.num_fields or len({f.name for f in b}) < b.num_fields:
        return None  # a name that occurs twice says nothing
    for f in b:
        kind = unite(fields.get(f.name, pa.null()), f.type)
        if kind is None:
            return None
        fields[f.name] = kind
    return pa.struct(list(fields.items()))


def _maps(a: Any, b: Any) -> pa.DataType | None:
    key, item = unite(a.key_type, b.key_type), unite(a.item_type, b.item_type)
    return None if key is None or item is None else pa.map_(key, item)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _lists(a: Any, b: Any) -> pa.DataType | None:
    item = unite(a.value_type, b.value_type)
    if item is None:
        return None
    if pa.types.is_large_list(a) or pa.types.is_large_list(b):
        return pa.large_list(item)
    if pa.types.is_fixed_size_list(a) and pa.types.is_fixed_size_list(b) and a.list_size == b.list_size:
        return pa.list_(item, a.list_size)
    return pa.list_(item)
