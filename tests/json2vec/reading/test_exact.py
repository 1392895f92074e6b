"""Casts that change no value: what is refused, what is not, and what lies under nulls. All pairs: test_unite.py."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from json2vec.reading.exact import cast
from json2vec.reading.plain import plain


def test_a_fraction_of_a_text_is_the_nearest_float() -> None:
    """As of any text; only integers must be held exactly."""
    assert cast(pa.array(["1234567.1", "12345678.0"]), pa.float32()).to_pylist() == [1234567.125, 12345678.0]
    assert cast(pa.array(["1234567890123456.7"]), pa.float64()).to_pylist() == [1234567890123456.7]
    with pytest.raises(pa.ArrowInvalid, match="16777217 would become 16777216"):
        cast(pa.array(["1.5", "16777217"]), pa.float32())


@pytest.mark.parametrize("text", ["1e999", "-1e999", "9" * 400])
def test_a_number_of_a_text_does_not_become_infinity(text: str) -> None:
    with pytest.raises(pa.ArrowInvalid, match="would become"):
        cast(pa.array(["1.5", text]), pa.float64())
    assert cast(pa.array(["inf", "-Inf"]), pa.float64()).to_pylist() == [float("inf"), float("-inf")]


def test_decimals_are_looked_at_where_a_float_may_not_hold_them() -> None:
    kind = pa.decimal128(20, 2)
    values = [Decimal("1.10"), None, Decimal("-9999999999999.99"), Decimal("0.07")]
    assert cast(pa.array(values, kind), pa.float64()).to_pylist() == [1.1, None, -9999999999999.99, 0.07]
    for number in ("123456789012345678.01", "-123456789012345678.01"):
        with pytest.raises(pa.ArrowInvalid, match="would become"):
            cast(pa.array([*values, Decimal(number)], kind), pa.float64())


def test_a_narrower_decimal_holds_the_digits_or_is_refused() -> None:
    have = pa.array([Decimal("12.30"), None, Decimal("-0.50")], pa.decimal128(20, 2))
    assert cast(have, pa.decimal128(5, 1)).to_pylist() == [Decimal("12.3"), None, Decimal("-0.5")]
    wide = pa.array([Decimal(2**70)], pa.decimal256(40, 0))
    with pytest.raises(pa.ArrowInvalid):
        cast(wide, pa.decimal128(10, 0))
    with pytest.raises(pa.ArrowInvalid, match=r"12\.34 would become|would cause data loss"):
        cast(pa.array([Decimal("12.34")], pa.decimal128(20, 2)), pa.decimal128(5, 1))


def test_what_lies_under_a_null_is_no_value() -> None:
    hidden = pa.StructArray.from_arrays(
        [pa.array([2**60 + 1, 5])], names=["a"], mask=pa.array([True, False])
    )  # fmt: skip
    assert cast(hidden, pa.struct([("a", pa.float64())])).to_pylist() == [None, {"a": 5.0}]
    assert cast(hidden, pa.struct([])).to_pylist() == [None, {}]


VIEWS = pa.array([], pa.string_view())


@pytest.mark.parametrize("values", [VIEWS, pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), VIEWS)])
def test_lists_of_size_zero_become_plain(values: pa.Array) -> None:
    """Arrow's own constructor divides by their size and ends the process."""
    array = pa.Array.from_buffers(pa.list_(values.type, 0), 3, [None], children=[values])
    assert plain(array).to_pylist() == [[], [], []]
    assert plain(array.slice(1)).to_pylist() == [[], []]
