"""Casts that lose nothing: `cast` gives the same values in another type, or raises.

``1.10`` of decimal(10, 2) becomes the double 1.1, from which ``1.10`` can be had back; ``12345678901234567890.12`` does
not. Arrow's own casts check some pairs of types and change values silently in others, from decimals to floats for one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from json2vec.reading.plain import lists, plain, spans, validity
from json2vec.reading.unite import integer_digits

__all__ = ["cast", "held_exactly", "shown"]

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
_SURE_DIGITS = {16: 3, 32: 6, 64: 15}  # every decimal of so many digits can be had back from a float of so many bits


def cast(array: Any, kind: Any) -> Any:
    """``array`` as ``kind``: struct children go by name, absent ones are null, and no value changes.

    Raises:
        pa.ArrowException, NotImplementedError: a value that ``kind`` does not hold exactly, or types that have nothing
            to do with each other.
    """
    if array.type.equals(kind):
        return array
    array = plain(array)
    have = array.type
    if have.equals(kind):
        return array
    if pa.types.is_null(kind) and array.null_count == len(array):
        return pa.nulls(len(array))  # a CSV column without values is inferred as null and read as text
    nulls = array.is_null() if array.null_count else None
    if pa.types.is_struct(have) and pa.types.is_struct(kind):
        if not kind.num_fields:
            return pa.Array.from_buffers(kind, len(array), [validity(array)])
        position = {f.name: i for i, f in enumerate(have)}
        fields = array.flatten()  # what lies under a null is no value
        children = [
            cast(fields[position[f.name]], f.type) if f.name in position else pa.nulls(len(array), f.type)
            for f in kind
        ]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=nulls)
    if not pa.types.is_nested(have) or not pa.types.is_nested(kind):
        return _leaf(array, kind)
    if pa.types.is_map(have) and pa.types.is_map(kind):
        offsets, begin, end = spans(array)
        keys = cast(array.keys.slice(begin, end - begin), kind.key_type)
        items = cast(array.items.slice(begin, end - begin), kind.item_type)
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, items, type=kind, mask=nulls)
    if pa.types.is_fixed_size_list(have):
        array = array.cast(pa.large_list(have.value_type))
        nulls = array.is_null() if array.null_count else None
    if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)) or not hasattr(kind, "value_type"):
        return array.cast(kind)
    offsets, begin, end = spans(array)
    values = cast(array.values.slice(begin, end - begin), kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        return lists(offsets, values, pa.large_list(kind.value_type), nulls).cast(kind)
    return lists(offsets, values, kind, nulls)


def held_exactly(number: str, value: Any) -> bool:
    """Whether the float ``value`` is the decimal ``number`` exactly, as ``"9007199254740993"`` is no double."""
    return bool(np.isfinite(value)) and Decimal(number) == Decimal(float(value))


def _leaf(array: pa.Array, kind: pa.DataType) -> pa.Array:
    have: Any = array.type
    if pa.types.is_string(have) or pa.types.is_large_string(have):
        return _text(array, kind)
    if pa.types.is_decimal(have) and pa.types.is_floating(kind):
        return _decimal_to_float(array, kind)
    if pa.types.is_integer(have) and pa.types.is_decimal(kind):
        # Arrow looks at precisions here, not at values.
        return _leaf(array.cast(pa.decimal128(integer_digits(have), 0)), kind)
    made = array.cast(kind)
    if pa.types.is_decimal(have) and pa.types.is_decimal(kind):
        return _decimal(array, made)
    if pa.types.is_floating(have) and pa.types.is_floating(kind):
        return _finite(array, made)
    if not (_is_number(have) and _is_number(kind)) or _arrow_checks(have, kind):
        return made
    to_float = pa.types.is_decimal(kind) and pa.types.is_floating(have)
    back = _decimal_to_float(made, have, check=False) if to_float else made.cast(have)
    same = pc.equal(back, array)
    if pa.types.is_floating(have):
        same = pc.or_kleene(same, pc.and_(pc.is_nan(back), pc.is_nan(array)))
    if pc.any(pc.invert(same)).as_py():  # null where there is none
        at = int(np.argmin(same.fill_null(True).to_numpy(zero_copy_only=False)))
        raise pa.ArrowInvalid(f"{shown(array[at])} would become {shown(made[at])}")
    return made


def _decimal(array: Any, made: Any) -> pa.Array:
    have, kind = array.type, made.type
    if kind.scale >= have.scale and kind.precision - kind.scale >= have.precision - have.scale:
        return made  # room for every digit
    # Arrow's cast to fewer bits drops the upper ones, and so would the cast back: compared in the widest type.
    try:
        widest = pa.decimal256(76, have.scale)
        if pc.all(pc.equal(array.cast(widest), made.cast(widest))).as_py():
            return made
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass  # too wide even for that, or of a negative scale; or a value has changed, which Python finds and names
    for before, after in zip(array.to_pylist(), made.to_pylist(), strict=True):
        if before != after:
            raise pa.ArrowInvalid(f"{before} would become {after}")
    return made


def _finite(array: pa.Array, made: pa.Array) -> pa.Array:
    """Types are united to the wider float. Who declares a narrower one wants the nearest, as of texts; not infinity."""
    lost = pc.and_(pc.is_finite(array), pc.invert(pc.is_finite(made)))
    if pc.any(lost).as_py():
        at = int(np.argmax(lost.fill_null(False).to_numpy(zero_copy_only=False)))
        raise pa.ArrowInvalid(f"{shown(array[at])} would become {shown(made[at])}")
    return made


def shown(value: Any) -> str:
    """A value of Arrow or Python for messages, at most 80 characters, all of which UTF-8 holds.

    A time that Python has no value for is shown as its number and type.
    """
    scalar: Any = value if isinstance(value, pa.Scalar) else None
    try:
        text = repr(value if scalar is None else scalar.as_py())
    except Exception:  # such as an integer of 5,000 digits, or a value of a class of the user's
        text = f"a value of type {type(value).__name__}"
        if scalar is not None and (pa.types.is_temporal(scalar.type) or pa.types.is_integer(scalar.type)):
            text = f"{scalar.value} ({scalar.type})"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 80 else text[:77] + "..."


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_primitive(kind) or pa.types.is_decimal(kind)  # booleans, numbers and times


def _arrow_checks(have: Any, kind: Any) -> bool:
    """Whether Arrow's cast raises for every value that would change."""
    is_integer, is_floating = pa.types.is_integer, pa.types.is_floating
    if is_integer(have) and is_floating(kind):
        return kind.bit_width > 16  # of half floats it checks none
    alike = (is_integer, pa.types.is_timestamp, pa.types.is_duration)
    return (pa.types.is_decimal(have) and is_integer(kind)) or any(test(have) and test(kind) for test in alike)


def _text(array: Any, kind: Any) -> pa.Array:
    if pa.types.is_integer(kind) and pc.any(pc.match_substring_regex(array, "^[-+]?0[xX]")).as_py():
        raise pa.ArrowInvalid("a hexadecimal text is no integer")
    made = array.cast(kind)
    if pa.types.is_floating(kind):
        digits = _SURE_DIGITS[kind.bit_width] + 1
        long = pc.match_substring_regex(array, rf"^[-+]?[0-9]{{{digits},}}(\.0*)?$")
        if pc.any(long).as_py():
            for number, value in zip(array.filter(long).to_pylist(), made.filter(long).to_pylist(), strict=True):
                if not held_exactly(number, value):
                    raise pa.ArrowInvalid(f"{number} would become {value!r}")
        endless = pc.and_(pc.is_inf(made), pc.invert(pc.match_substring_regex(array, "(?i)inf")))
        if pc.any(endless).as_py():
            raise pa.ArrowInvalid(f"{array.filter(endless)[0].as_py()} would become infinity")
    return made


def _decimal_to_float(array: Any, kind: Any, check: bool = True) -> pa.Array:
    """Each decimal as the nearest float; Arrow's own cast is sometimes one of the next."""
    have = array.type
    texts = array.cast(pa.string())
    made = texts.cast(kind)
    sure = _SURE_DIGITS[kind.bit_width]
    if not check or (have.precision <= sure and 0 <= have.scale <= sure and kind.bit_width > 16):
        return made
    looked_at, floats = array, made
    if kind.bit_width > 16 and 0 <= have.scale <= sure:  # smaller values have no more digits than any float holds
        large = pc.greater_equal(pc.abs(array), pa.scalar(Decimal(10) ** (sure - have.scale), have))
        looked_at, floats = array.filter(large), made.filter(large)
    scalars = floats.to_numpy(zero_copy_only=False).astype(kind.to_pandas_dtype())
    for value, number in zip(scalars, looked_at.to_pylist(), strict=True):
        if number is None:
            continue
        # Either the float is the decimal, or the shortest text of the float is.
        if not np.isfinite(value) or number not in (Decimal(str(value)), Decimal(float(value))):
            raise pa.ArrowInvalid(f"{number} would become {value!s}")
    return made
