"""From records to the slots of one leaf: `LeafColumn`.

Two ways in, one result: `resolve_arrow` walks Arrow columns without touching a row, `resolve_rows` walks Python dicts
(the interactive path, and queries that only jmespath understands).

Legend: N rows, P slots of the leaf in one row, V occupied slots that hold a value.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jmespath
import jmespath.exceptions
import numpy as np
import pyarrow as pa
import pyarrow.compute

from json2vec.address import Address
from json2vec.enums import MASK_LITERAL, Overflow, Tokens
from json2vec.errors import EncodeError
from json2vec.reading.records import text_keys
from json2vec.schema.queries import EACH, Query

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


@dataclass
class LeafColumn:
    """The values of one leaf in a batch.

    Attributes:
        address: the address of the leaf.
        values: the V values, none of them null: an Arrow array, or a list where no one Arrow type holds them all.
        slots: int64 (V,), where each value belongs in the N * P flattened slots, ascending.
        state: int64 (N * P,), values of `Tokens`; a field's ``encode`` may turn further slots into null.
        shape: (N, 1, L1, L2, ...), the shape that ``state`` takes in the end.
    """

    address: Address
    values: pa.Array | list[Any]
    slots: np.ndarray
    state: np.ndarray
    shape: tuple[int, ...]

    def full(self, fill: float, dtype: Any, trailing: tuple[int, ...] = ()) -> np.ndarray:
        """An array (N * P, *trailing) of ``fill``, to scatter values into."""
        return np.full((len(self.state), *trailing), fill, dtype)

    def rows(self) -> np.ndarray:
        """int64 (V,): the row of each value."""
        per_row = len(self.state) // max(1, self.shape[0])
        return self.slots // max(1, per_row)


def resolve_arrow(
    rows: pa.RecordBatch, address: Address, query: Query, lengths: Sequence[int], overflows: Sequence[Overflow],
    *, predict: bool,
) -> LeafColumn:  # fmt: skip
    """Find the leaf's values in Arrow columns.

    Args:
        rows: N rows.
        address: the leaf, for messages.
        query: where in a row the values are; it must have steps.
        lengths: (L1, L2, ...), max_length of each array above the leaf, without the root.
        overflows: what each of them does with items past its length.
        predict: take ``"<MASK>"`` for a masked slot.

    Raises:
        EncodeError: a column that is no list, or no object, where the query goes through one; an overflow of an array
            with ``overflow="error"``.
    """
    assert query.steps is not None
    n_rows = rows.num_rows
    array: pa.Array | None = None  # None: the record itself
    slots = np.arange(n_rows, dtype=np.int64)
    level = 0
    for step in query.steps:
        try:
            if step is not None:  # a key, not EACH
                array = child(rows, array, step, address)
                continue
            assert array is not None
            array, slots = _items(array, slots, lengths[level], overflows[level], address)
            level += 1
        except EncodeError as exc:
            if exc.item is not None:
                exc.row = int(slots[exc.item]) // int(np.prod(lengths[:level], dtype=np.int64))
            raise
    assert array is not None
    shape = (n_rows, 1, *lengths)
    state = np.full(int(np.prod(shape)), Tokens.padded, np.int64)
    state[slots] = Tokens.valued
    return _settle(array, LeafColumn(address, array, slots, state, shape), predict)


def child(rows: pa.RecordBatch, array: pa.Array | None, key: str, address: Address) -> pa.Array:
    """The values below ``key``: of the record itself (``array`` is None), or of an array of structs or maps."""
    if array is None:
        index = rows.schema.get_field_index(key)
        return rows.column(index) if index >= 0 else pa.nulls(rows.num_rows)
    arrow_type = array.type
    if pa.types.is_struct(arrow_type):
        # struct_field keeps the parent's nulls; StructArray.field() would drop them.
        return pc.struct_field(array, [key]) if arrow_type.get_field_index(key) >= 0 else pa.nulls(len(array))
    if pa.types.is_map(arrow_type):
        maps = text_keys(array)
        return pc.map_lookup(maps, pa.scalar(key, maps.type.key_type), "last")
    if array.null_count == len(array):
        return pa.nulls(len(array))
    raise EncodeError(
        f"{address}: expected an object with key {key!r}, found a column of type {arrow_type}. "
        "Remedy: correct the leaf's query, or the data",
        item=int(np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))[0]),
    )


def _items(
    array: pa.Array, slots: np.ndarray, length: int, overflow: Overflow, address: Address
) -> tuple[pa.Array, np.ndarray]:
    """One level down: the items that fit, and their slots."""
    arrow_type = array.type
    if not (
        pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type)
    ):
        if array.null_count == len(array):
            return pa.nulls(0), slots[:0]
        raise EncodeError(
            f"{address}: expected a list, found a column of type {arrow_type}. "
            "Remedy: correct the leaf's query, or the data",
            item=int(np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))[0]),
        )
    # flatten() leaves out the values that a null list may own, and respects slices; so lengths of nulls count as 0.
    counts = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    items = array.flatten()
    first = np.cumsum(counts) - counts
    position = np.arange(len(items), dtype=np.int64) - np.repeat(first, counts)
    if len(counts) and int(counts.max(initial=0)) > length:
        if overflow is Overflow.error:
            row = int(np.argmax(counts > length))
            raise EncodeError(
                f"{address}: an array holds {int(counts[row])} items; expected at most {length} (overflow='error'). "
                "Remedy: raise max_length, or choose overflow='head' or 'tail'",
                item=row,
            )
        if overflow is Overflow.tail:
            position -= np.repeat(np.maximum(counts - length, 0), counts)
        keep = (position >= 0) & (position < length)
        items = items.filter(pa.array(keep))
        position = position[keep]
        counts = np.minimum(counts, length)
    return items, np.repeat(slots, counts) * length + position


def _settle(array: pa.Array, column: LeafColumn, predict: bool) -> LeafColumn:
    """Sort out nulls, NaN and ``<MASK>``, so that ``values`` holds values only."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if isinstance(array, pa.DictionaryArray) and (array.dictionary.null_count or not _is_text(array.type)):
        array = array.dictionary_decode()  # a null of the dictionary is none of the array's own
    if array.null_count or pa.types.is_floating(array.type):
        nulls = array.is_null(nan_is_null=pa.types.is_floating(array.type)).to_numpy(zero_copy_only=False)
        column.state[column.slots[nulls]] = Tokens.null
        if nulls.any():
            array = array.filter(pa.array(~nulls))
            column.slots = column.slots[~nulls]
    column.values = array
    if pa.types.is_string_view(array.type):
        array = column.values = pc.cast(array, pa.large_string())  # views have few kernels
    if _is_text(array.type):
        masked = pc.equal(array, MASK_LITERAL).to_numpy(zero_copy_only=False)
        if masked.any():
            if not predict:
                raise _mask_outside_prediction(column.address, int(column.rows()[np.argmax(masked)]))
            column.state[column.slots[masked]] = Tokens.masked
            column.values = array.filter(pa.array(~masked))
            column.slots = column.slots[~masked]
    return column


def _mask_outside_prediction(address: Address, row: int) -> EncodeError:
    return EncodeError(
        f"{address}: found {MASK_LITERAL!r}, which means a hidden slot in prediction only. "
        "Remedy: remove it from the data, or hide slots in training with p_mask",
        row=row,
    )


def _is_text(arrow_type: pa.DataType) -> bool:
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    return pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type)


def resolve_rows(
    rows: Sequence[Any], address: Address, query: Query, lengths: Sequence[int], overflows: Sequence[Overflow],
    *, predict: bool,
) -> LeafColumn:  # fmt: skip
    """Find the leaf's values in Python records; the same result as `resolve_arrow` gives for the same records."""
    shape = (len(rows), 1, *lengths)
    per_row = int(np.prod(shape[1:]))
    state = np.full(len(rows) * per_row, Tokens.padded, np.int64)
    values: list[Any] = []
    slots: list[int] = []
    search = jmespath.compile(query.text).search if query.steps is None else None
    for row, record in enumerate(rows):
        if search is None:
            assert query.steps is not None
            pairs = _walk(record, query.steps, lengths, overflows, address, row, row)
        else:
            try:
                result = search([record])
            except jmespath.exceptions.JMESPathError as exc:
                raise EncodeError(f"{address}: query {query.text!r} fails: {exc}", row=row) from exc
            if not lengths:
                result = result[0] if isinstance(result, list) and result else None
            elif isinstance(result, list) and len(result) == 1:
                result = result[0]  # the projection over the record itself
            pairs = _spread(result, lengths, overflows, address, row, row)
        for slot, value in pairs:
            if value is None or (isinstance(value, float) and value != value):
                state[slot] = Tokens.null
            elif isinstance(value, str) and value == MASK_LITERAL:
                if not predict:
                    raise _mask_outside_prediction(address, row)
                state[slot] = Tokens.masked
            else:
                state[slot] = Tokens.valued
                slots.append(slot)
                values.append(value)
    return LeafColumn(address, as_arrow(values), np.array(slots, np.int64), state, shape)


def as_arrow(values: list[Any]) -> pa.Array | list[Any]:
    """An Arrow array where one type holds all values as they are, else the list itself."""
    types = {type(value) for value in values}
    if len(types) > 1 and not types <= {int, float}:
        return values
    if types == {uuid.UUID}:
        return pa.array([str(value) for value in values], pa.string())
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError):
        return values


def _walk(value: Any, steps: Sequence[str | None], lengths: Sequence[int], overflows: Sequence[Overflow],
          address: Address, slot: int, row: int) -> list[tuple[int, Any]]:  # fmt: skip
    for index, step in enumerate(steps):
        if step is EACH:
            pairs = []
            for inner, item in _spread(value, lengths[:1], overflows, address, slot, row, leaf=False):
                pairs += _walk(item, steps[index + 1 :], lengths[1:], overflows[1:], address, inner, row)
            return pairs
        if value is None:
            # Nothing here: a missing list has no items; a missing object has a null where the leaf should be.
            return [] if EACH in steps[index:] else [(slot, None)]
        if not isinstance(value, dict):
            raise EncodeError(
                f"{address}: expected an object with key {step!r}, found {type(value).__name__} {value!r:.80}. "
                "Remedy: correct the leaf's query, or the data",
                row=row,
            )
        value = value.get(step)
    return [(slot, value)]


def _spread(value: Any, lengths: Sequence[int], overflows: Sequence[Overflow], address: Address, slot: int, row: int,
            leaf: bool = True) -> list[tuple[int, Any]]:  # fmt: skip
    """Nested lists to (slot, value) pairs, going down ``len(lengths)`` levels."""
    if not lengths:
        return [(slot, value)]
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise EncodeError(
            f"{address}: expected a list, found {type(value).__name__} {value!r:.80}. "
            "Remedy: correct the leaf's query, or the data",
            row=row,
        )
    length, extra = lengths[0], len(value) - lengths[0]
    if extra > 0:
        if overflows[0] is Overflow.error:
            raise EncodeError(
                f"{address}: an array holds {len(value)} items; expected at most {length} (overflow='error'). "
                "Remedy: raise max_length, or choose overflow='head' or 'tail'",
                row=row,
            )
        value = value[extra:] if overflows[0] is Overflow.tail else value[:length]
    if not leaf:
        return [(slot * length + index, item) for index, item in enumerate(value)]
    pairs = []
    for index, item in enumerate(value):
        pairs += _spread(item, lengths[1:], overflows[1:], address, slot * length + index, row)
    return pairs
