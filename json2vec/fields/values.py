"""Values of a leaf as numpy arrays, and numpy arrays as output columns."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from json2vec.columns import LeafColumn
from json2vec.enums import Tokens
from json2vec.errors import EncodeError

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


def scatter(column: LeafColumn, values: np.ndarray, fill: float = 0) -> np.ndarray:
    """``values`` (V, ...) in their slots (N * P, ...), ``fill`` in all others."""
    full = column.full(fill, values.dtype, values.shape[1:])
    full[column.slots] = values
    return full


def as_float64(column: LeafColumn) -> np.ndarray:
    """float64 (V,). Numbers, booleans, decimals and texts that spell a number.

    Raises:
        EncodeError: a value that is no number, with its index as ``item``.
    """
    values = column.values
    if isinstance(values, list):
        return _each(values, _number)
    arrow_type = values.type
    if pa.types.is_floating(arrow_type):
        return values.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    if pa.types.is_boolean(arrow_type) or pa.types.is_integer(arrow_type):
        return values.to_numpy(zero_copy_only=False).astype(np.float64)
    if pa.types.is_decimal(arrow_type):
        return pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    if pa.types.is_dictionary(arrow_type):
        values = values.dictionary_decode()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        try:
            return pc.cast(pc.utf8_trim_whitespace(values), pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            return _each(values.to_pylist(), _number)
    if not len(values):
        return np.zeros(0)
    raise EncodeError(f"expected a number, found a column of type {arrow_type}", item=0)


def _number(value: Any) -> float:
    if isinstance(value, (bool, int, float, str, decimal.Decimal, np.number, np.bool_)):
        return float(value)
    raise TypeError


def _each(values: list[Any], convert: Callable[[Any], float]) -> np.ndarray:
    result = np.empty(len(values), np.float64)
    for item, value in enumerate(values):
        try:
            result[item] = convert(value)
        except OverflowError:
            result[item] = np.inf if value > 0 else -np.inf
        except (TypeError, ValueError) as exc:
            raise EncodeError(f"expected a number, found {type(value).__name__} {value!r:.80}", item=item) from exc
    return result


def list_lengths(values: pa.Array) -> np.ndarray:
    """int64 (V,): the length of each list."""
    return pc.list_value_length(values).to_numpy(zero_copy_only=False).astype(np.int64)


def uniform(values: np.ndarray | pa.Array, shape: tuple[int, ...]) -> pa.Array:
    """N rows of nested lists.

    ``shape`` is (N, d1, d2, ...); axes of size 1 after the first are squeezed away, so that the type depends on the
    schema alone.
    """
    array = values if isinstance(values, pa.Array) else pa.array(np.ascontiguousarray(values).reshape(-1))
    count = math.prod(shape)
    assert len(array) == count, (len(array), shape)
    for size in reversed(shape[1:]):
        if size == 1:
            continue
        count //= size
        offsets = np.arange(0, (count + 1) * size, size, dtype=np.int32)
        array = pa.ListArray.from_arrays(pa.array(offsets), array)
    return array


def uniform_type(arrow_type: pa.DataType, shape: tuple[int, ...]) -> pa.DataType:
    """The type that `uniform` gives for axes ``shape`` (without N)."""
    for size in reversed(shape):
        arrow_type = arrow_type if size == 1 else pa.list_(arrow_type)
    return arrow_type


STATE_NAMES = tuple(token.name for token in Tokens)


def state_type(slots: int) -> pa.StructType:
    """Type of the state payload: a probability for each of the five states."""
    return pa.struct([pa.field(name, uniform_type(pa.float32(), (slots,))) for name in STATE_NAMES])


def state_array(probabilities: np.ndarray) -> pa.StructArray:
    """Softmaxed states, float32 (N, P, 5), as a struct of five columns."""
    n_rows, slots, _ = probabilities.shape
    by_state = np.ascontiguousarray(np.moveaxis(probabilities, 2, 0))
    return pa.StructArray.from_arrays(
        [uniform(by_state[token], (n_rows, slots)) for token in Tokens], fields=list(state_type(slots))
    )
