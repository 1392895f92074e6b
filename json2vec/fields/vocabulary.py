"""The ordered labels of a Category or Set field.

Labels compare as Python values do: ``1`` is not ``"1"``, but 1, 1.0 and True are one label.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from json2vec.errors import EncodeError

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

Label = str | int | float | bool
_EXACT = 2**53
"""Integers up to here are themselves as float64."""


class Vocabulary:
    """Labels in order of first appearance, at most ``capacity`` of them. An unknown label has index ``capacity``.

    Args:
        capacity: the most labels that there is room for.
        labels: the labels to begin with, in order.
    """

    def __init__(self, capacity: int, labels: Iterable[Label] = ()) -> None:
        self.capacity = capacity
        self.labels: list[Label] = []
        self._index: dict[Label, int] = {}
        for label in labels:
            self._add(label)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def full(self) -> bool:
        return len(self.labels) >= self.capacity

    def _add(self, label: Label) -> None:
        if label not in self._index and not self.full:
            self._index[label] = len(self.labels)
            self.labels.append(label)
            self.__dict__.pop("_tables", None)
            self.__dict__.pop("arrow_type", None)

    def learn(self, values: Any) -> None:
        """Add the labels that are new, in order of appearance, while there is room."""
        if self.full:
            return
        for label in values if isinstance(values, list) else pc.unique(plain(values)).to_pylist():
            self._add(as_label(label))

    def lookup(self, values: Any) -> np.ndarray:
        """int64 (V,): the index of each value (Arrow array or list), ``capacity`` where it is unknown."""
        if isinstance(values, list):
            return np.array([self._index.get(as_label(value), self.capacity) for value in values], np.int64)
        if pa.types.is_dictionary(values.type):
            indices = values.indices.to_numpy(zero_copy_only=False)
            return self.lookup(values.dictionary)[indices]
        values = plain(values)
        strings, numbers = self._tables
        if pa.types.is_string(values.type):
            labels, index = strings
        elif pa.types.is_integer(values.type) and _beyond_float(values):
            return self.lookup(values.to_pylist())
        else:
            labels, index = numbers
            values = pc.cast(pc.cast(values, pa.int8()) if pa.types.is_boolean(values.type) else values, pa.float64())
        positions = pc.index_in(values, value_set=labels)
        return index[pc.fill_null(positions, len(labels)).to_numpy(zero_copy_only=False)]

    @cached_property
    def _tables(self) -> tuple[tuple[pa.Array, np.ndarray], tuple[pa.Array, np.ndarray]]:
        """For text and for numbers: the labels of that kind, and the index of each, with "unknown" as the last."""

        def table(arrow_type: pa.DataType, entries: list[tuple[Any, int]]) -> tuple[pa.Array, np.ndarray]:
            labels = pa.array([label for label, _ in entries], arrow_type)
            return labels, np.array([index for _, index in entries] + [self.capacity], np.int64)

        pairs = list(self._index.items())
        return (
            table(pa.string(), [(label, index) for label, index in pairs if isinstance(label, str)]),
            table(pa.float64(), [(float(label) + 0.0, index) for label, index in pairs if _is_exact(label)]),
        )

    @cached_property
    def arrow_type(self) -> pa.DataType:
        """The one type of all labels; string where they are mixed or none are known yet."""
        types = {type(label) for label in self.labels}
        if types == {bool}:
            return pa.bool_()
        if types == {int}:
            return pa.int64() if all(-(2**63) <= label < 2**63 for label in self.labels) else pa.string()  # type: ignore[operator]
        if types and types <= {int, float}:
            return pa.float64()
        return pa.string()

    def take(self, indices: np.ndarray) -> pa.Array:
        """The labels at ``indices`` as one Arrow array of `arrow_type`; null where the vocabulary is empty."""
        if not self.labels:
            return pa.nulls(len(indices), pa.string())
        return self._column(self.arrow_type).take(pa.array(indices))

    def take_text(self, indices: np.ndarray) -> pa.Array:
        """The labels at ``indices`` as text."""
        return self._column(pa.string()).take(pa.array(indices))

    def _column(self, arrow_type: pa.DataType) -> pa.Array:
        labels = [str(label) for label in self.labels] if pa.types.is_string(arrow_type) else self.labels
        return pa.array(labels, arrow_type)


NO_VOCABULARY = Vocabulary(0)
"""For fields that learn no labels. Not to be chosen by truth value: a vocabulary without labels yet is empty, too."""


def room_for(distinct: int, most: int) -> int:
    """A capacity for more labels of the kind: the smallest power of two with room for twice as many, and for 16 more.

    Args:
        distinct: different labels seen in a sample.
        most: the largest capacity to propose.
    """
    return min(most, 1 << (2 * distinct + 15).bit_length())


def plain(values: pa.Array) -> pa.Array:
    """Values as labels are made of them: text, numbers and booleans as they are, anything else as its text."""
    arrow_type = values.type
    if pa.types.is_dictionary(arrow_type):
        return plain(values.dictionary_decode())
    if pa.types.is_floating(arrow_type):
        return _one_zero(values)
    numeric = pa.types.is_boolean(arrow_type) or pa.types.is_integer(arrow_type)
    if numeric or pa.types.is_string(arrow_type):
        return values
    if pa.types.is_nested(arrow_type):
        raise EncodeError(f"expected a label (text, number or boolean), found {arrow_type}", item=0)
    if pa.types.is_timestamp(arrow_type):
        # Records spell times to the microsecond; columns of another unit must give the same labels.
        values = pc.cast(values, pa.timestamp("us", arrow_type.tz), safe=False)
    return pc.cast(values, pa.string())


def _one_zero(values: pa.Array) -> pa.Array:
    """Floats in which -0.0 is 0.0 and every NaN the same one, as in a row's hash; Arrow tells their bits apart."""
    if pa.types.is_float16(values.type):
        values = pc.cast(values, pa.float32())
    values = pc.add(values, pa.scalar(0.0, values.type))
    return pc.if_else(pc.is_nan(values), pa.scalar(float("nan"), values.type), values)


def as_label(value: Any) -> Label:
    """A Python value as a label. Raises `EncodeError` for lists and objects."""
    if isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple, dict, set)):
        raise EncodeError(f"expected a label (text, number or boolean), found {type(value).__name__} {value!r:.80}")
    return pc.cast(pa.array([value]), pa.string())[0].as_py()


def _is_exact(label: Label) -> bool:
    return not isinstance(label, str) and (isinstance(label, float) or abs(label) <= _EXACT)


def _beyond_float(values: pa.Array) -> bool:
    if not len(values):
        return False
    bounds = pc.min_max(values)
    return max(abs(bounds["min"].as_py()), abs(bounds["max"].as_py())) > _EXACT
