"""The ordered labels of a Category or Set field.

Labels compare as Python values do: ``1`` is not ``"1"``, but 1, 1.0 and True are one label. Dates, times, decimals and
bytes are labels as their texts (`json2vec.reading.records.texts`), whatever type stores them: a timestamp is the same
label in any unit and zone, a decimal in any scale.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from json2vec.errors import EncodeError
from json2vec.reading.plain import plain as stored_plainly
from json2vec.reading.records import key_of, keys, texts

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
            for made in ("_tables", "_keys"):
                self.__dict__.pop(made, None)
            self.__dict__.pop("arrow_type", None)

    def learn(self, values: Any) -> None:
        """Add the labels that are new, in order of appearance, while there is room."""
        if self.full:
            return
        if not isinstance(values, list):
            values = pc.unique(plain(values))
            if not _is_label(values.type):
                self._learn_spelled(zip(*(_texts(values, spell).to_pylist() for spell in (texts, keys)), strict=True))
                return
            values = values.to_pylist()
        for value in values:
            if isinstance(value, Label):
                self._add(value)
            else:
                self._learn_spelled([_spelled(value)])

    def _learn_spelled(self, pairs: Iterable[tuple[str, str]]) -> None:
        known = set(self._keys)
        for text, key in pairs:
            if key not in known:
                known.add(key)
                self._add(text)

    def lookup(self, values: Any) -> np.ndarray:
        """int64 (V,): the index of each value (Arrow array or list), ``capacity`` where it is unknown."""
        if isinstance(values, list):
            return np.array([self._find(value) for value in values], np.int64)
        if pa.types.is_dictionary(values.type):
            indices = values.indices.to_numpy(zero_copy_only=False)
            return self.lookup(values.dictionary)[indices]
        values = plain(values)
        strings, numbers, spelled = self._tables
        if not _is_label(values.type):
            labels, index = spelled
            values = _texts(values, keys)
        elif pa.types.is_string(values.type):
            labels, index = strings
        elif pa.types.is_integer(values.type) and _beyond_float(values):
            return self.lookup(values.to_pylist())
        else:
            labels, index = numbers
            values = pc.cast(pc.cast(values, pa.int8()) if pa.types.is_boolean(values.type) else values, pa.float64())
        positions = pc.index_in(values, value_set=labels)
        return index[pc.fill_null(positions, len(labels)).to_numpy(zero_copy_only=False)]

    def _find(self, value: Any) -> int:
        if isinstance(value, Label):
            return self._index.get(value, self.capacity)
        return self._keys.get(_spelled(value)[1], self.capacity)

    @cached_property
    def _keys(self) -> dict[str, int]:
        """The index of the first label of each key: values that are no labels themselves are looked up here."""
        found: dict[str, int] = {label: index for label, index in self._index.items() if isinstance(label, str)}
        for label, index in list(found.items()):
            found.setdefault(key_of(label), index)
        return found

    @cached_property
    def _tables(self) -> tuple[tuple[pa.Array, np.ndarray], ...]:
        """For texts, numbers and the keys of other values: the labels, and the index of each; "unknown" is the last."""

        def table(arrow_type: pa.DataType, entries: list[tuple[Any, int]]) -> tuple[pa.Array, np.ndarray]:
            labels = pa.array([label for label, _ in entries], arrow_type)
            return labels, np.array([index for _, index in entries] + [self.capacity], np.int64)

        pairs = list(self._index.items())
        return (
            table(pa.string(), [(label, index) for label, index in pairs if isinstance(label, str)]),
            table(pa.float64(), [(float(label) + 0.0, index) for label, index in pairs if _is_exact(label)]),
            table(pa.string(), list(self._keys.items())),
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
    """Values of a plain type, large texts as texts; `Vocabulary` spells those that are no labels themselves."""
    values = stored_plainly(values)
    if pa.types.is_floating(values.type):
        return _one_zero(values)
    if pa.types.is_nested(values.type):
        if not len(values):
            return pa.array([], pa.string())
        raise EncodeError(f"expected a label (text, number or boolean), found {values.type}", item=0)
    if pa.types.is_decimal(values.type) and values.type.bit_width < 128:
        return pc.cast(values, pa.decimal128(values.type.precision, values.type.scale))  # narrow ones have few kernels
    return pc.cast(values, pa.string()) if pa.types.is_large_string(values.type) else values


def _one_zero(values: pa.Array) -> pa.Array:
    """Floats in which -0.0 is 0.0 and every NaN the same one, as in a row's hash; Arrow tells their bits apart."""
    if pa.types.is_float16(values.type):
        values = pc.cast(values, pa.float32())
    values = pc.add(values, pa.scalar(0.0, values.type))
    return pc.if_else(pc.is_nan(values), pa.scalar(float("nan"), values.type), values)


def codes(values: pa.Array | list[Any]) -> np.ndarray:
    """int64 (V,): equal for labels that are equal.

    Raises:
        EncodeError: a value that is no label, with its index as ``item``.
    """
    if not isinstance(values, list):
        stored: Any = plain(values)
        same = stored if _is_label(stored.type) else _texts(stored, keys)
        return pc.dictionary_encode(same).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    seen: dict[Any, int] = {}
    found = np.empty(len(values), np.int64)
    for item, value in enumerate(values):
        try:
            # A text may look like the key of a time, and is not that time.
            label = value if isinstance(value, Label) else (_spelled(value)[1],)
        except EncodeError as exc:
            raise EncodeError(str(exc), item=item) from exc
        found[item] = seen.setdefault(label, len(seen))
    return found


def as_texts(values: Any) -> list[Label]:
    """Labels as they are shown: text, numbers and booleans as they are, anything else as its text."""
    if not isinstance(values, list):
        values = plain(values)
        return (values if _is_label(values.type) else _texts(values, texts)).to_pylist()
    return [value if isinstance(value, Label) else _spelled(value)[0] for value in values]


def _spelled(value: Any) -> tuple[str, str]:
    """The text of a value that is no label itself, and its key."""
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        raise EncodeError(f"expected a label (text, number or boolean), found {type(value).__name__} {value!r:.80}")
    if isinstance(value, uuid.UUID):
        return str(value), str(value)
    try:
        one = pa.array([value])
    except (pa.ArrowException, OverflowError) as exc:
        raise EncodeError(
            f"expected a label (text, number or boolean), found {type(value).__name__} {value!r:.80}"
        ) from exc
    try:
        return _texts(one, texts)[0].as_py(), _texts(one, keys)[0].as_py()
    except EncodeError as exc:
        raise EncodeError(str(exc)) from exc  # its place among one value is no place among many


def _texts(values: Any, spell: Callable[[Any], Any]) -> Any:
    try:
        return spell(values)
    except (pa.ArrowException, NotImplementedError) as exc:
        item = next((i for i in range(len(values)) if not _spells(values.slice(i, 1), spell)), None)
        found = values[item or 0].as_py()
        raise EncodeError(
            f"expected a label (text, number or boolean), found {type(found).__name__} {found!r:.80}, which has no "
            "text (bytes have to be UTF-8). Remedy: make a text of it in a preprocessor",
            item=item,
        ) from exc


def _spells(value: Any, spell: Callable[[Any], Any]) -> bool:
    try:
        spell(value)
    except (pa.ArrowException, NotImplementedError):
        return False
    return True


def _is_label(kind: pa.DataType) -> bool:
    """Whether values of a plain type are labels themselves."""
    types = pa.types
    return types.is_string(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _is_exact(label: Label) -> bool:
    return not isinstance(label, str) and (isinstance(label, float) or abs(label) <= _EXACT)


def _beyond_float(values: pa.Array) -> bool:
    if not len(values):
        return False
    bounds = pc.min_max(values)
    return max(abs(bounds["min"].as_py()), abs(bounds["max"].as_py())) > _EXACT
