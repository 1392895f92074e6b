"""Types and arrays without what only concerns storage: a dictionary of string views of ``red`` is the text ``red``.

Arrow has several ways to store the same values, and few of its functions know all of them: casting a list view may
answer an empty list where there was one of two items. So values become plain first, wherever they come in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["plain", "plain_batch", "plain_schema", "plain_type"]

_LARGEST_OFFSET = 2**31 - 1


def plain_type(kind: pa.DataType) -> pa.DataType:
    """``kind`` without what only concerns storage: dictionaries, views, run ends, extensions, NOT NULL."""
    return _plain_type(kind, False)


@lru_cache(maxsize=4096)
def _plain_type(kind: Any, dictionaries: bool) -> pa.DataType:
    """``dictionaries``: keep them, with plain values."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type, dictionaries)
    if pa.types.is_dictionary(kind):
        value = _plain_type(kind.value_type, False)
        return pa.dictionary(kind.index_type, value, kind.ordered) if dictionaries else value
    if pa.types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type, dictionaries)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _plain_type(f.type, dictionaries)) for f in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type, dictionaries), _plain_type(kind.item_type, dictionaries))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_item(kind, dictionaries), kind.list_size)
    if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(_item(kind, dictionaries))
    if pa.types.is_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(_item(kind, dictionaries))
    return kind


def _item(kind: Any, dictionaries: bool) -> pa.Field:
    return pa.field("item", _plain_type(kind.value_type, dictionaries))


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Every field of ``schema`` in its `plain_type`, nullable, without metadata."""
    return pa.schema([pa.field(f.name, plain_type(f.type)) for f in schema])


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """``batch`` with plain columns, for readers who know dictionaries: those stay, with plain values.

    Returns:
        ``batch`` itself where nothing has to be changed.
    """
    given = batch.columns
    columns = [_plain(column, True) for column in given]
    if all(new is old for new, old in zip(columns, given, strict=True)):
        return batch
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def plain(array: Any) -> Any:
    """``array`` in its `plain_type`: the same values and nulls in the same order.

    Raises:
        pa.ArrowException: the values do not fit the plain type, as lists of more than 2**31 - 1 items in all.
    """
    return _plain(array, False)


def _plain(array: Any, dictionaries: bool) -> Any:
    kind = array.type
    wanted: Any = _plain_type(kind, dictionaries)
    if wanted.equals(kind):
        return array
    if isinstance(array, pa.ExtensionArray):
        return _plain(array.storage, dictionaries)
    if pa.types.is_dictionary(kind):
        values = _plain(array.dictionary, False)
        if dictionaries:
            return pa.DictionaryArray.from_arrays(array.indices, values, ordered=kind.ordered)
        return values.take(array.indices)
    if pa.types.is_run_end_encoded(kind):
        ends = array.run_ends.to_numpy().astype(np.int64)
        runs = np.searchsorted(ends, np.arange(len(array), dtype=np.int64) + array.offset, side="right")
        return _plain(array.values, dictionaries).take(pa.array(runs, pa.int64()))
    if pa.types.is_struct(kind):
        children = [_plain(array.field(i), dictionaries) for i in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(wanted), mask=_nulls(array))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return _viewed(array, wanted, dictionaries)
    if pa.types.is_fixed_size_list(kind) and not kind.list_size:  # Arrow's constructor divides by the size
        return pa.Array.from_buffers(
            wanted, len(array), [validity(array)], children=[_plain(array.values.slice(0, 0), dictionaries)]
        )
    if pa.types.is_fixed_size_list(kind):
        values = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
        return pa.FixedSizeListArray.from_arrays(_plain(values, dictionaries), type=wanted, mask=_nulls(array))
    if pa.types.is_map(kind):
        offsets, begin, end = spans(array)
        keys, items = (_plain(some.slice(begin, end - begin), dictionaries) for some in (array.keys, array.items))
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, items, type=wanted, mask=_nulls(array))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets, begin, end = spans(array)
        return lists(offsets, _plain(array.values.slice(begin, end - begin), dictionaries), wanted, _nulls(array))
    return array.cast(wanted)  # string_view and binary_view


def validity(array: Any) -> Any:
    """The bitmap of an array's valid values, from its first bit on; None where every value is."""
    return array.is_valid().buffers()[1] if array.null_count else None


def _nulls(array: Any) -> Any:
    return array.is_null() if array.null_count else None


def spans(array: Any) -> tuple[np.ndarray, int, int]:
    """Offsets of a list or map array from 0 on, int64 (n + 1,), and where its items begin and end in its values."""
    if not len(array):
        return np.zeros(1, np.int64), 0, 0
    offsets = array.offsets.to_numpy().astype(np.int64)
    begin, end = int(offsets[0]), int(offsets[-1])
    return offsets - begin, begin, end


def lists(offsets: np.ndarray, values: Any, kind: Any, nulls: Any) -> Any:
    """A list or large list array of type ``kind``; ``nulls``: bool (n,) in Arrow, or None."""
    if pa.types.is_large_list(kind):
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values, type=kind, mask=nulls)
    if offsets[-1] > _LARGEST_OFFSET:
        raise pa.ArrowInvalid(f"{int(offsets[-1])} items in all; a column of type {kind} holds {_LARGEST_OFFSET}")
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind, mask=nulls)


def _viewed(array: Any, wanted: Any, dictionaries: bool) -> Any:
    """A list view as a list; its items may overlap or lie in any order."""
    sizes = array.sizes.to_numpy(zero_copy_only=False).astype(np.int64)
    begins = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    if array.null_count:
        sizes = np.where(array.is_valid().to_numpy(zero_copy_only=False), sizes, 0)  # what a null owns is nobody's
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    places = np.repeat(begins - offsets[:-1], sizes) + np.arange(offsets[-1])
    values = _plain(array.values, dictionaries).take(pa.array(places, pa.int64()))
    return lists(offsets, values, wanted, _nulls(array))
