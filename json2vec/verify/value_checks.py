"""Are the predicted values possible at all? Probabilities, sums, unit vectors and known labels, in columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from json2vec.enums import Tokens
from json2vec.verify.findings import MAX_EXAMPLES, Finding

TOLERANCE = 1e-4
_STATES = {token.name for token in Tokens}
RowName = Callable[[int], str]
RowsOf = Callable[[np.ndarray], np.ndarray]
"""From the indices of items in nested lists to those of their rows."""


class ValueCheck:
    """Collects impossible values from batches of the ``predictions`` column.

    Args:
        labels: the labels of each address that has a vocabulary; None where no model is at hand.
    """

    def __init__(self, labels: Mapping[str, list[Any]] | None) -> None:
        self._labels = labels
        self._sets: dict[tuple[str, pa.DataType], pa.Array] = {}
        self.checked = self.bad = 0
        self.recognised = False
        self._examples: list[str] = []

    def add(self, predictions: pa.StructArray, row_name: RowName) -> None:
        if predictions.null_count:
            self._report(np.flatnonzero(predictions.is_null()), "predictions", "is null", row_name)
        for index, address in enumerate(predictions.type):
            self._walk(predictions.field(index), address.name, address.name, row_name)

    def finding(self, *, postprocessed: bool) -> Finding:
        """The finding ``values``; ``postprocessed`` columns may hold anything, so that little is proven of them."""
        expected = "probabilities finite and in [0, 1], states summing to 1, embeddings of unit length, labels known"
        found = f"{self.bad} impossible of {self.checked} values"
        passed: bool | None = self.bad == 0
        remedy = "" if passed else "do not load this folder; look at the model and the precision, then predict again"
        if passed and self._labels is None:
            passed, remedy = None, "pass model= to prove the labels too"
            found += "; labels not compared"
        elif passed and postprocessed and not self.recognised:
            passed, remedy = None, "leave `values` out of require=, and test the columns in the warehouse"
            found = "columns of a postprocessor, whose possible values nobody declared"
        return Finding("values", passed, expected, found, remedy, {"values": self.checked, "bad": self.bad},
                       tuple(self._examples))  # fmt: skip

    def _walk(self, array: pa.Array, address: str, path: str, row_name: RowName) -> None:
        arrow_type = array.type
        if pa.types.is_struct(arrow_type):
            if {field.name for field in arrow_type} == _STATES:
                self._states(array, path, row_name)
                return
            for index, child in enumerate(arrow_type):
                self._child(array.field(index), child.name, address, f"{path}.{child.name}", row_name)

    def _child(self, array: pa.Array, name: str, address: str, path: str, row_name: RowName) -> None:
        leaf = _leaf_type(array.type)
        if name == "embedding" and pa.types.is_floating(leaf):
            self._embedding(array, path, row_name)
        elif name == "probability" and pa.types.is_floating(leaf):
            self._probabilities(array, path, row_name)
        elif name == "value" and ".content" in path:
            self._known(array, address, path, row_name)
        elif name == "topk" and pa.types.is_struct(leaf):
            self._topk(array, address, path, row_name)
        elif name == "content" and pa.types.is_map(leaf):
            flat, rows = _flatten(array)
            ends = flat.offsets.to_numpy()  # unlike .keys and .items, .offsets knows of a slice
            entries = np.repeat(np.arange(len(flat)), np.diff(ends))
            keys, items = (child.slice(ends[0], ends[-1] - ends[0]) for child in (flat.keys, flat.items))
            self._known(keys, address, path, row_name, lambda index: rows(entries[index]))
            self._probabilities(items, path, row_name, lambda index: rows(entries[index]))
        elif name == "content" and pa.types.is_floating(leaf):
            flat, rows = _flatten(array)
            self._report_mask(~np.isfinite(_numbers(flat)) & _valid(flat), path, "is not finite", row_name, rows)
        else:
            self._walk(array, address, path, row_name)

    def _states(self, states: pa.StructArray, path: str, row_name: RowName) -> None:
        total: np.ndarray | None = None
        rows: RowsOf = lambda index: index  # noqa: E731
        for index in range(states.type.num_fields):
            flat, rows = _flatten(states.field(index))
            values = _numbers(flat)
            self._probabilities(flat, f"{path}.{states.type.field(index).name}", row_name, rows)
            if total is not None and len(total) != len(values):
                self._report(np.zeros(1, np.int64), path, "has lists of different lengths", row_name)
                return
            total = values if total is None else total + values
        if total is not None:
            self._report_mask(~(np.abs(total - 1) <= TOLERANCE), path, "does not sum to 1", row_name, rows)

    def _probabilities(self, array: pa.Array, path: str, row_name: RowName, rows: RowsOf | None = None) -> None:
        if rows is None:
            array, rows = _flatten(array)
        values = _numbers(array)
        bad = ~((values >= 0) & (values <= 1 + TOLERANCE)) & _valid(array)
        self._report_mask(bad, path, "is no probability", row_name, rows, values)

    def _embedding(self, array: pa.Array, path: str, row_name: RowName) -> None:
        rows: RowsOf = lambda index: index  # noqa: E731
        while not pa.types.is_floating(array.type.value_type):
            array, rows = _flatten_once(array, rows)
        norms = _norms(array)
        self._report_mask(
            ~(np.abs(norms - 1) <= 10 * TOLERANCE), path, "is not of unit length", row_name, rows, norms
        )

    def _topk(self, array: pa.Array, address: str, path: str, row_name: RowName) -> None:
        flat, rows = _flatten(array)
        self._probabilities(flat.field("probability"), f"{path}.probability", row_name, rows)
        self._known(flat.field("label"), address, f"{path}.label", row_name, rows)

    def _known(
        self, array: pa.Array, address: str, path: str, row_name: RowName, rows: RowsOf | None = None
    ) -> None:
        labels = None if self._labels is None else self._labels.get(address)
        if labels is None:
            return
        if rows is None:
            array, rows = _flatten(array)
        key = (address, array.type)
        if key not in self._sets:
            text = pa.types.is_string(array.type)
            self._sets[key] = pa.array([str(label) for label in labels] if text else labels, array.type)
        listed = pc.call_function("is_in", [array], pc.SetLookupOptions(self._sets[key])).to_numpy(zero_copy_only=False)
        self._report_mask(~listed & _valid(array), path, "is not in the vocabulary", row_name, rows)

    def _report_mask(
        self, bad: np.ndarray, path: str, why: str, row_name: RowName, rows: RowsOf, values: np.ndarray | None = None
    ) -> None:
        self.checked += len(bad)
        self.recognised = True
        if bad.any():
            at = np.flatnonzero(bad)
            shown = f" ({values[at[0]]:.6g})" if values is not None else ""
            self._report(rows(at), path, f"{why}{shown}", row_name)

    def _report(self, rows: np.ndarray, path: str, why: str, row_name: RowName) -> None:
        self.bad += len(rows)
        if len(self._examples) < MAX_EXAMPLES:
            self._examples.append(f"{path} of {row_name(int(rows[0]))} {why}")


def _norms(vectors: pa.ListArray) -> np.ndarray:
    """float64 (N,): Euclidean norms of N lists of floats; 0 for an empty or absent one, NaN where an item is absent."""
    lengths = pc.fill_null(vectors.value_lengths(), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    values = _numbers(vectors.flatten())
    if not len(lengths) or not len(values):
        return np.zeros(len(lengths))
    if (lengths == lengths[0]).all():
        rows = values.reshape(len(lengths), -1)
        # In the values' own precision: far within the tolerance, and half the memory traffic.
        return np.sqrt(np.einsum("ij,ij->i", rows, rows)).astype(np.float64)
    squares = np.append(np.square(values.astype(np.float64)), 0.0)
    sums = np.add.reduceat(squares, np.cumsum(lengths) - lengths)
    return np.sqrt(np.where(lengths > 0, sums, 0))


def _leaf_type(arrow_type: pa.DataType) -> pa.DataType:
    while pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        arrow_type = arrow_type.value_type
    return arrow_type


def _flatten(array: pa.Array) -> tuple[pa.Array, RowsOf]:
    """Items of nested lists, and a function from the index of an item to that of its row."""
    rows: RowsOf = lambda index: index  # noqa: E731
    while _leaf_type(array.type) != array.type:
        array, rows = _flatten_once(array, rows)
    return array, rows


def _flatten_once(
    array: pa.Array, rows: RowsOf
) -> tuple[pa.Array, RowsOf]:
    def inner(index: np.ndarray) -> np.ndarray:
        return rows(array.value_parent_indices().to_numpy(zero_copy_only=False)[index])

    return array.flatten(), inner


def _numbers(array: pa.Array) -> np.ndarray:
    return array.to_numpy(zero_copy_only=False)


def _valid(array: pa.Array) -> np.ndarray:
    return np.ones(len(array), bool) if not array.null_count else array.is_valid().to_numpy(zero_copy_only=False)
