"""The types that rank files hold, and values of each that a warehouse may get wrong."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

SLOT = pa.struct([("x", pa.uint8()), ("names", pa.list_(pa.string()))])
CONTENT = pa.struct(
    [
        ("value", pa.string()),
        ("topk", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))),
    ]
)
TYPES = pa.schema(
    {
        "number": pa.int32(), "id": pa.string(), "flag": pa.bool_(), "i8": pa.int8(), "i16": pa.int16(),
        "i64": pa.int64(), "u8": pa.uint8(), "u32": pa.uint32(), "u64": pa.uint64(), "half": pa.float16(),
        "float": pa.float32(),
        "double": pa.float64(), "price": pa.decimal128(12, 2), "raw": pa.binary(), "long_text": pa.large_string(),
        "date": pa.date32(), "time": pa.time64("us"), "moment": pa.timestamp("us"),
        "at": pa.timestamp("ms", tz="Europe/Berlin"), "fixed": pa.list_(pa.float32(), 2),
        "text": pa.dictionary(pa.int32(), pa.string()), "states": pa.list_(pa.list_(pa.float32())),
        "cell": pa.struct([("slots", pa.list_(SLOT)), ("m", pa.map_(pa.string(), pa.float32()))]),
        "predictions": pa.struct([("record/label", pa.struct([("content", CONTENT)]))]),
    }
)  # fmt: skip
"""What rank files hold, inputs and predictions."""

_AT = datetime.datetime(2026, 1, 31, 12, 0, 0, 250_000)
WHOLE: dict[str, Any] = {
    "id": "ü'\";--", "flag": True, "i8": -(2**7), "i16": -7, "i64": 2**63 - 1, "u8": 2**8 - 1, "u32": 2**32 - 1,
    "u64": 2**64 - 1, "half": 0.5, "float": 0.1, "double": 0.1, "price": Decimal("-1234567890.12"), "raw": b"\0x\xff",
    "long_text": "", "date": _AT.date(), "time": datetime.time(23, 59, 59, 999_999), "moment": _AT,
    "at": _AT.replace(tzinfo=datetime.UTC), "fixed": [1.0, 2.0], "text": "t", "states": [[0.5], [], None, [0.25, None]],
    "cell": {"slots": [{"x": 255, "names": ["a", None]}, None, {"x": None, "names": None}], "m": [("k", 1.0)]},
    "predictions": {"record/label": {"content": {"value": "yes", "topk": [{"label": "yes", "probability": 0.75}]}}},
}  # fmt: skip
EDGES: list[dict[str, Any]] = [
    {},
    {"cell": {"slots": None, "m": []}, "predictions": {"record/label": None}},
    {"cell": {"slots": [], "m": None}, "states": []},
    {"float": math.nan, "double": -math.inf, "half": -0.0},
    {"float": -0.0, "double": 5e-324, "i64": -(2**63), "u64": 0},
]
"""What replaces some values of `WHOLE`: nulls and empty lists where lists are nested, and odd numbers."""


def plain(value: Any) -> Any:
    """A value so that equal ones are equal in any warehouse.

    Tuples become lists, decimals without a fraction integers, moments UTC, intervals durations, and floating-point
    numbers their text, by which NaN equals NaN and 0.0 is not -0.0.
    """
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, pa.MonthDayNano):  # a tuple, like a pair of a map
        months, days, nanoseconds = value
        return value if months else datetime.timedelta(days=days, microseconds=nanoseconds / 1000)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value.normalize()
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC)
    return value
