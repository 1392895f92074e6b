"""Do two prediction tables say the same? Numbers within a tolerance, labels exactly, row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# What only one side writes: the peer marks which slots were masked or targets, ours has the rows' sources.
IGNORED = ("inferred",)


def leaves(column: pa.Array, path: str = "") -> dict[str, pa.Array]:
    """The leaves of nested structs and lists by path; each list level adds its lengths as a leaf of its own."""
    if pa.types.is_struct(column.type):
        found: dict[str, pa.Array] = {}
        for index in range(column.type.num_fields):
            name = column.type.field(index).name
            if name not in IGNORED:
                found |= leaves(pc.struct_field(column, [index]), f"{path}.{name}" if path else name)
        return found
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        lengths = pc.cast(pc.list_value_length(column), pa.int64())
        return {f"{path}.length": lengths} | leaves(column.flatten(), f"{path}[]")
    return {path: column}


def by_id(table: pa.Table) -> pa.StructArray:
    """The `predictions` column in the order of `inputs.id`, as one array."""
    ids = pc.struct_field(table["inputs"].combine_chunks(), "id")
    return table["predictions"].combine_chunks().take(pc.sort_indices(ids))


def compare(peer: pa.Table, ours: pa.Table, tolerance: float = 1e-4) -> dict[str, float | int]:
    """Compare two tables with columns `inputs` (with an `id`) and `predictions`.

    Returns:
        rows, values compared, and the largest absolute difference of a number.

    Raises:
        ValueError: a row, an address or a key is on one side only, or a value differs by more than
            `tolerance` (absolute and relative).
    """
    if peer.num_rows != ours.num_rows:
        raise ValueError(f"predictions disagree: {peer.num_rows} rows by the peer, {ours.num_rows} by ours")
    ids = [np.sort(pc.struct_field(side["inputs"].combine_chunks(), "id").to_numpy()) for side in (peer, ours)]
    if not np.array_equal(*ids):
        raise ValueError("predictions disagree: the two sides did not predict the same row ids")
    theirs, own = leaves(by_id(peer)), leaves(by_id(ours))
    # A list without elements has no type to compare; its length says all.
    theirs = {path: column for path, column in theirs.items() if not pa.types.is_null(column.type)}
    if missing := sorted(set(theirs) - set(own)):
        raise ValueError(f"predictions disagree: ours lacks {', '.join(missing)}; it has {', '.join(sorted(own))}")
    values, largest = 0, 0.0
    for path, expected in theirs.items():
        found = own[path]
        if len(found) != len(expected):
            raise ValueError(f"predictions disagree at {path}: {len(expected)} values by the peer, ours {len(found)}")
        values += len(expected)
        if pa.types.is_floating(expected.type):
            left, right = (pc.cast(side, pa.float64()).to_numpy(zero_copy_only=False) for side in (expected, found))
            difference = np.abs(left - right)
            wrong = ~(difference <= tolerance + tolerance * np.abs(left))
            largest = max(largest, float(np.nanmax(difference, initial=0.0)))
        else:
            left, right = expected, pc.cast(found, expected.type)  # text is string here, large_string there
            wrong = pc.fill_null(pc.not_equal(left, right), True).to_numpy(zero_copy_only=False)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"predictions disagree at {path}, value {at} of {len(expected)} ({int(wrong.sum())} in all): "
                f"{expected[at]} by the peer, {found[at]} by ours; tolerance {tolerance}"
            )
    return {"rows": peer.num_rows, "values": values, "largest_difference": largest}
