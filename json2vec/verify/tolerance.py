"""Rows of two Arrow columns that say different things, floats compared within a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TOLERANCE = 1e-5


def far(stored: pa.Array, again: pa.Array, tolerance: float = TOLERANCE) -> np.ndarray:
    """bool (N,): rows where the two differ.

    Floats differ where |a - b| > tolerance + tolerance |b|; everything else, nulls and lengths too, where unequal. The
    label of a category may differ where the probabilities of both labels are that close: a tie.
    """
    if stored.type != again.type:
        return np.ones(len(stored), bool)
    kind = stored.type
    if pa.types.is_null(kind):
        return np.zeros(len(stored), bool)
    absent, absent_again = (array.is_null().to_numpy(zero_copy_only=False) for array in (stored, again))
    differs = absent != absent_again
    if pa.types.is_struct(kind):
        differs |= _far_children(stored, again, tolerance) & ~absent
    elif pa.types.is_map(kind) or _is_list(kind):
        differs |= _far_lists(stored, again, tolerance)
    elif pa.types.is_floating(kind):
        a, b = (array.to_numpy(zero_copy_only=False).astype(np.float64) for array in (stored, again))
        with np.errstate(invalid="ignore"):
            close = (np.abs(a - b) <= tolerance * (1 + np.abs(b))) | (a == b) | (np.isnan(a) & np.isnan(b))
        differs |= ~close & ~absent
    else:
        unequal = pc.fill_null(pc.call_function("not_equal", [stored, again]), False)
        differs |= unequal.to_numpy(zero_copy_only=False)
    return differs


def _far_children(stored: pa.StructArray, again: pa.StructArray, tolerance: float) -> np.ndarray:
    differs = np.zeros(len(stored), bool)
    labelled = np.zeros(len(stored), bool)
    category = {"value", "probability", "topk"} <= {one.name for one in stored.type}
    for index, one in enumerate(stored.type):
        unequal = far(stored.field(index), again.field(index), tolerance)
        if category and one.name in ("value", "topk"):
            labelled |= unequal
        else:
            differs |= unequal
    for row in np.flatnonzero(labelled & ~differs):
        differs[row] = not _tied(stored[int(row)].as_py(), again[int(row)].as_py(), tolerance)
    return differs


def _tied(stored: dict[str, Any], again: dict[str, Any], tolerance: float) -> bool:
    """Whether two category contents with equal probabilities name the same labels but for ties."""
    slots = [(stored, again)]
    if isinstance(stored["probability"], list):
        slots = [({key: stored[key][i] for key in stored}, {key: again[key][i] for key in again})
                 for i in range(len(stored["probability"]))]  # fmt: skip
    return all(_tied_slot(a, b, tolerance) and _tied_slot(b, a, tolerance) for a, b in slots)


def _tied_slot(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> bool:
    # Damaged files may hold nulls where the writer leaves none.
    listed = {
        item["label"]: item["probability"] for item in other["topk"] or [] if item and item["probability"] is not None
    }
    # A label that only `one` lists was beaten, at best narrowly, by the last that `other` lists.
    last = min(listed.values(), default=None)
    for item in one["topk"] or []:
        if (
            item is None
            or item["label"] is None
            or not _near(item["probability"], listed.get(item["label"], last), tolerance)
        ):
            return False
    return one["value"] == other["value"] or _near(one["probability"], listed.get(str(one["value"])), tolerance)


def _near(one: float | None, other: float | None, tolerance: float) -> bool:
    return one is not None and other is not None and abs(one - other) <= tolerance * (1 + abs(other))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _far_lists(stored: Any, again: Any, tolerance: float) -> np.ndarray:
    if pa.types.is_map(stored.type):
        stored, again = _entries(stored), _entries(again)
    lengths, lengths_again = (pc.fill_null(array.value_lengths(), 0).to_numpy(zero_copy_only=False)
                              for array in (stored, again))  # fmt: skip
    differs = lengths != lengths_again
    if differs.any():
        keep = np.flatnonzero(~differs)
        inner = _far_lists(stored.take(pa.array(keep)), again.take(pa.array(keep)), tolerance)
        differs[keep] = inner
        return differs
    parents = np.repeat(np.arange(len(stored)), lengths)
    unequal = far(stored.flatten(), again.flatten(), tolerance)
    differs[parents[unequal]] = True
    return differs


def _entries(array: pa.MapArray) -> pa.ListArray:
    """A map as the list of its entries. ``.keys`` and ``.items`` know nothing of a slice, ``.offsets`` does."""
    entries = pa.StructArray.from_arrays([array.keys, array.items], names=["key", "value"])
    return pa.ListArray.from_arrays(array.offsets, entries, mask=array.is_null() if array.null_count else None)
