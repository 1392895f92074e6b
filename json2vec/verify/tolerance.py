"""Rows of two Arrow columns that say different things, floats compared within a tolerance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from json2vec.fields.tie import Tie

TOLERANCE = 1e-5
MIXED = {"bf16": 5e-2, "fp16": 5e-3}
"""Twice the largest difference from float32 that was measured over untrained models of 16 to 128 dimensions and one to
four layers: 2.5e-2 of bfloat16, 2.5e-3 of half precision. A test measures it again."""


def tolerance_of(precision: str | None, device: str | None) -> float:
    """How far a prediction may be from itself: float32 on a CPU 1e-5, otherwise what the precision's bits allow."""
    text, on_cpu = precision or "32-true", (device or "cpu").startswith("cpu")
    if "bf16" in text or ("16" in text and on_cpu):  # Lightning has no half precision on a CPU and takes bfloat16
        return MIXED["bf16"]
    if "16" in text:
        return MIXED["fp16"]
    return TOLERANCE if on_cpu else 10 * TOLERANCE


def far(stored: pa.Array, again: pa.Array, tolerance: float = TOLERANCE) -> np.ndarray:
    """bool (N,): rows where the two differ.

    Floats differ where |a - b| > tolerance + tolerance |b|; everything else, nulls and lengths too, where unequal. What
    a field type takes for a tie is no difference: the label of a category may be another one where the probabilities
    of both labels are that close.

    Args:
        stored: a column of N rows.
        again: the same column, made again.
        tolerance: how far floats may be from each other, absolutely and relatively.
    """
    if stored.type != again.type:
        return np.ones(len(stored), bool)
    arrow_type = stored.type
    if pa.types.is_null(arrow_type):
        return np.zeros(len(stored), bool)
    absent, absent_again = (array.is_null().to_numpy(zero_copy_only=False) for array in (stored, again))
    differs = absent != absent_again
    if pa.types.is_struct(arrow_type):
        differs |= _far_children(stored, again, tolerance) & ~absent
    elif pa.types.is_map(arrow_type) or _is_list(arrow_type):
        differs |= _far_lists(stored, again, tolerance)
    elif pa.types.is_floating(arrow_type):
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
    maybe_tied = np.zeros(len(stored), bool)
    tie = _tie_of(frozenset(child.name for child in stored.type))
    for index, child in enumerate(stored.type):
        unequal = far(stored.field(index), again.field(index), tolerance)
        if tie is not None and child.name in tie.free:
            maybe_tied |= unequal
        else:
            differs |= unequal
    if tie is None:
        return differs
    for row in np.flatnonzero(maybe_tied & ~differs):
        differs[row] = not tie.tied(stored[int(row)].as_py(), again[int(row)].as_py(), tolerance)
    return differs


def _tie_of(names: frozenset[str]) -> Tie | None:
    """The tie of the field type whose content has entries of these names; of several, the one that names most."""
    # Field types need torch, which is loaded wherever rows were predicted again.
    import json2vec.fields  # noqa: F401 - registers the field types
    from json2vec.fields.registry import FIELD_TYPES

    ties = [field_type.tie for field_type in FIELD_TYPES.values() if field_type.tie is not None]
    return max((tie for tie in ties if tie.parts <= names), key=lambda tie: len(tie.parts), default=None)


def _is_list(arrow_type: pa.DataType) -> bool:
    return pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type)


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
