"""Python values that people pass by mistake, and attackers on purpose: none of them may end a process or raise what is
not ours."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Any

import numpy as np


def deep(levels: int, *, objects: bool = False) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if objects else [value]
    return value


def endless() -> list[Any]:
    """A list that holds itself, twice."""
    value: list[Any] = []
    value.extend([value, value])
    return value


class Rude:
    """An object that refuses to be looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __float__ = __len__ = __hash__ = __repr__  # type: ignore[assignment]


HOSTILE: dict[str, Any] = {
    "2**70": 2**70, "-2**70": -(2**70), "10**400": 10**400, "10**5000": 10**5000, "-0.0": -0.0, "nan": float("nan"),
    "inf": float("inf"), "half a pair": "\ud800", "NUL": "a\0b", "1e400": "1e400", "digits": "9" * 5000, "empty": "",
    "NaT": np.datetime64("NaT"), "year 0 (numpy)": np.datetime64("0000-01-01"),
    "year 99999 (numpy)": np.datetime64("99999-01-01"), "year 0": "0000-01-01", "year 10000": "10000-01-01",
    "year 999999999999": "999999999999-01-01", "first day": dt.date(1, 1, 1),
    "before the first day": dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))),
    "after the last day": dt.datetime(9999, 12, 31, 23, 59, tzinfo=dt.timezone(dt.timedelta(hours=-14))),
    "longest duration": dt.timedelta.max, "time": dt.time(1), "1e500": decimal.Decimal("1e500"),
    "decimal NaN": decimal.Decimal("NaN"), "decimal sNaN": decimal.Decimal("sNaN"), "complex": 1j, "bool": True,
    "bytes": b"\xff", "uuid": uuid.UUID(int=7), "object": object(), "class": int, "rude": Rude(), "set": {1},
    "generator": (i for i in ()), "object with a key": {"a": 1}, "whole number as key": {1: 2},
    "half a pair as key": {"\ud800": 1}, "None as key": {None: 1}, "list": [1, 2], "several types": [1, "a"],
    "half a pair within": ["\ud800", 1], "2**70 within": [2**70, 1], "object within": [object(), 1],
    "rude within": [Rude()], "nulls": [None, None], "tuple": (1, 2), "numpy": np.float32(1), "array": np.zeros(2),
    "matrix": np.zeros((2, 2)), "400 lists": deep(400), "400 objects": deep(400, objects=True),
    "100,000 lists": deep(100_000), "100,000 objects": deep(100_000, objects=True), "endless": endless(),
}  # fmt: skip
