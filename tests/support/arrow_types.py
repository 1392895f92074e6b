"""Values of every Arrow type, alone and inside structs, lists and maps."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa

UNITS = ("s", "ms", "us", "ns")
ZONES = (None, "UTC", "Europe/Berlin", "+05:30", "-08:00", "+0000", "Z", "Etc/GMT+5")


def _viewed(kind: Any, *numbers: int | None) -> pa.Array:
    return pa.array(numbers, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)


def _decimal(kind: Any, unscaled: int) -> pa.Array:
    """The number of so many 10**-scale, whatever the scale."""
    make = {32: pa.decimal32, 64: pa.decimal64, 128: pa.decimal128, 256: pa.decimal256}[kind.bit_width]
    values = pa.array([Decimal(unscaled), None, Decimal(0)], make(kind.precision, 0))
    return pa.Array.from_buffers(kind, 3, values.buffers())


def _union(dense: bool) -> pa.Array:
    children = [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]
    which = pa.array([0, 1, 0], pa.int8())
    if dense:
        return pa.UnionArray.from_dense(which, pa.array([0, 0, 1], pa.int32()), children)
    return pa.UnionArray.from_sparse(which, children)


def flat() -> dict[str, pa.Array]:
    """Three values of every type that holds no others, the second of which is null."""
    moment, clock = 1_709_168_523, 86_399
    made: dict[str, pa.Array] = {"null": pa.nulls(3), "bool": pa.array([True, None, False])}
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()):
        high = 2 ** (kind.bit_width - (not str(kind).startswith("u"))) - 1
        made[str(kind)] = pa.array([high, None, 0], kind)
    for kind in (pa.float16(), pa.float32(), pa.float64()):
        made[str(kind)] = pa.array([1.5, None, float("nan")], kind)
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        made[str(kind)] = pa.array(["Zoë", None, ""], kind)
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        made[str(kind)] = pa.array([b"\xff\x00", None, b""], kind)
    made["fixed_size_binary[3]"] = pa.array([b"\xff\x00a", None, b"abc"], pa.binary(3))
    made["fixed_size_binary[0]"] = pa.array([b"", None, b""], pa.binary(0))
    made["date32"] = pa.array([dt.date(1960, 2, 29), None, dt.date(9999, 12, 31)])
    made["date64"] = made["date32"].cast(pa.date64())
    for unit, factor in zip(UNITS, (1, 10**3, 10**6, 10**9), strict=True):
        for zone in ZONES:
            kind = pa.timestamp(unit, zone)
            made[f"timestamp[{unit}, {zone}]"] = _viewed(kind, moment * factor + factor // 3, None, -1)
        made[f"duration[{unit}]"] = _viewed(pa.duration(unit), moment * factor + factor // 3, None, -1)
        clocks = pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
        made[f"time[{unit}]"] = _viewed(clocks, clock * factor + factor // 3, None, 0)
    for kind in (pa.decimal32(9, 2), pa.decimal64(18, 4), pa.decimal128(38, 10), pa.decimal128(5, 0),
                 pa.decimal128(5, -2),
                 pa.decimal128(3, 5), pa.decimal256(38, 6), pa.decimal256(76, 2), pa.decimal256(76, -3),
                 pa.decimal32(3, 3), pa.decimal64(4, 6)):  # fmt: skip
        made[str(kind)] = _decimal(kind, -123)
    made["dictionary"] = pa.array(["a", None, "b"]).dictionary_encode()
    made["dictionary of date64"] = made["date64"].dictionary_encode()
    ends = pa.array([1, 2, 3], pa.int32())
    made["run_end_encoded"] = pa.RunEndEncodedArray.from_arrays(ends, pa.array(["a", None, "b"]))
    made["uuid"] = pa.array([b"\xff" * 16, None, b"\0" * 16], pa.uuid())
    made["json"] = pa.array(["{}", None, "[1]"], pa.json_())
    made["bool8"] = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None, 0], pa.int8()))
    made["opaque"] = pa.ExtensionArray.from_storage(pa.opaque(pa.int32(), "t", "v"), pa.array([1, None, 0], pa.int32()))
    made["month_day_nano_interval"] = pa.array([(1, 2, 3), None, (0, 0, 0)], pa.month_day_nano_interval())
    made["dense_union"], made["sparse_union"] = _union(True), _union(False)
    made["timestamp[us, Mars/Olympus]"] = _viewed(pa.timestamp("us", "Mars/Olympus"), 1, None, 2)
    made["decimal128(38, -2)"] = _decimal(pa.decimal128(38, -2), 5)
    return made


def nested(inner: pa.Array) -> dict[str, pa.Array]:
    """Three values of every type that holds others, made of three values of ``inner``."""
    offsets, nulls = pa.array([0, 2, 2, 3], pa.int32()), pa.array([False, True, False])
    sizes = pa.array([2, 0, 1], pa.int32())
    keys = pa.array(["k", "l", "k"])
    long = pa.array([0, 2, 2, 3], pa.int64())
    two = pa.concat_arrays([inner, inner])
    made = {
        "struct": pa.StructArray.from_arrays([inner, keys], ["a", "b"], mask=nulls),
        "list": pa.ListArray.from_arrays(offsets, inner, mask=nulls),
        "large_list": pa.LargeListArray.from_arrays(long, inner, mask=nulls),
        "list_view": pa.ListViewArray.from_arrays(pa.array([1, 0, 0], pa.int32()), sizes, inner, mask=nulls),
        "fixed_size_list[2]": pa.FixedSizeListArray.from_arrays(two, type=pa.list_(inner.type, 2), mask=nulls),
        "fixed_size_list[0]": pa.Array.from_buffers(pa.list_(inner.type, 0), 3, [None], children=[inner.slice(0, 0)]),
        "map": pa.MapArray.from_arrays(offsets, keys, inner),
    }
    if not pa.types.is_null(inner.type):
        by = pa.concat_arrays([inner.slice(0, 1), inner.slice(2, 1)])
        made["map by it"] = pa.MapArray.from_arrays(pa.array([0, 1, 1, 2], pa.int32()), by, keys.slice(0, 2))
    return made
