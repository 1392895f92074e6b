"""What counts as the same value, and what does not; every difference that is forgiven is in the documents."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import json2vec
from json2vec.verify.same_value import DIFFERENCES, MaybeNull, Moment, Pairs, plain_object, plain_value, same

NS, MICRO, SECOND = 1, 10**3, 10**9
PRICE = pa.struct([("price", pa.float64())])


def of(value: Any, kind: Any) -> Any:
    return plain_value(pa.scalar(value, kind))


def instant(nanoseconds: int, unit: int = MICRO) -> Moment:
    return Moment("instant", nanoseconds, unit)


SAME = [
    (pa.int64(), 2**53 + 1, Decimal(2**53 + 1)),
    (pa.int64(), 1, 1.0),
    (pa.float64(), 0.1, "0.1"),
    (pa.float64(), 0.1, Decimal("0.1")),
    (pa.float64(), float("nan"), float("nan")),
    (pa.float64(), float("inf"), "inf"),
    (pa.float64(), float("inf"), Decimal("1e999999999")),
    (pa.float64(), -0.0, "-0.0"),
    (pa.float32(), np.float32(0.1), 0.1),
    (pa.decimal128(5, 2), Decimal("1.10"), Decimal("1.1")),
    (pa.decimal256(50, 2), Decimal(10**47), 1e47),
    (pa.bool_(), True, "true"),
    (pa.string(), "1.50", Decimal("1.5")),
    (pa.string(), "true", True),
    (pa.string(), "ä\0", "ä\0"),
    (pa.string(), '{"a": [1, 2.5]}', {"a": [1, Decimal("2.5")]}),
    (pa.string(), None, MaybeNull("")),
    (pa.string(), "", MaybeNull("")),
    (pa.string(), "ä", "ä".encode()),
    (pa.binary(16), uuid.UUID(int=7).bytes, str(uuid.UUID(int=7))),
    (pa.date32(), date(2024, 2, 29), "2024-02-29"),
    (pa.date32(), date(2024, 2, 29), instant(1_709_164_800 * SECOND)),
    (pa.timestamp("us"), datetime(2024, 2, 29, 1, 2, 3, 4), "2024-02-29 01:02:03.000004"),
    (pa.timestamp("s"), datetime(2024, 2, 29, 1, 2), "2024-02-29T03:02+02:00"),
    (pa.timestamp("ns", "UTC"), 1_000_000_001, instant(10**9)),
    (pa.timestamp("ns", "UTC"), -1, instant(0)),
    (pa.timestamp("ns", "UTC"), -1, instant(-1000)),
    (pa.duration("ms"), timedelta(seconds=1), 1000),
    (pa.time64("us"), 3_600_000_000, "01:00"),
    (pa.list_(PRICE), [{"price": 1.5}, None], [{"price": Decimal("1.5")}, None]),
    (PRICE, {"price": None}, {}),
    (pa.map_(pa.string(), pa.int64()), [("a", 1)], {"a": 1}),
    (pa.map_(pa.string(), pa.int64()), [("a", 1)], Pairs([("a", 1)])),
]
DIFFERENT = [
    (pa.int64(), 2**53, 2**53 + 1),
    (pa.float64(), float(np.float32(0.1)), "0.1"),
    (pa.float64(), float(np.float32(0.1)), 0.1),
    (pa.float64(), np.nextafter(0.1, 1), Decimal("0.1")),
    (pa.float64(), 0.0, -0.0),
    (pa.float64(), float("nan"), None),
    (pa.float32(), np.nextafter(np.float32(0.1), np.float32(1)), 0.1),
    (pa.decimal128(5, 2), Decimal("1.10"), 1.1),
    (pa.int64(), 7, "seven"),
    (pa.int64(), 1, True),
    (pa.bool_(), True, "false"),
    (pa.string(), "", None),
    (pa.string(), None, ""),
    (pa.string(), "x", MaybeNull("")),
    (pa.string(), "7", 8),
    (pa.binary(), b"a", "b"),
    (pa.date32(), date(2024, 2, 29), "2024-03-01"),
    (pa.date32(), date(2024, 2, 29), instant(1_709_164_801 * SECOND)),
    (pa.timestamp("us"), datetime(2024, 2, 29), instant(1_709_164_800 * SECOND + 1000)),
    (pa.timestamp("ns"), 1_000_001_000, instant(10**9)),
    (pa.timestamp("us"), datetime(2024, 2, 29), Moment("date", 19_783 * 86_400 * SECOND, 86_400 * SECOND)),
    (pa.duration("ms"), timedelta(seconds=1), 1001),
    (pa.time64("us"), 3_600_000_000, instant(3600 * SECOND)),
    (pa.list_(pa.int64()), [1, 2], [2, 1]),
    (pa.list_(pa.int64()), [], None),
    (pa.list_(pa.int64()), [1], [1, 2]),
    (PRICE, None, {}),
    (PRICE, {"price": 1.0}, {}),
    (pa.map_(pa.string(), pa.int64()), [("a", 1)], {"a": 2}),
    (pa.map_(pa.string(), pa.int64()), [("a", 1)], {}),
]
UNDECIDED = [
    (pa.timestamp("us"), datetime(2024, 2, 29), "Thursday"),
    (pa.string(), "soon", instant(0)),
    (pa.list_(pa.timestamp("us")), [datetime(2024, 2, 29)], ["Thursday"]),
]


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "expected"),
    [(*case, answer) for cases, answer in ((SAME, True), (DIFFERENT, False), (UNDECIDED, None)) for case in cases],
)
def test_same(kind: Any, ours: Any, theirs: Any, expected: bool | None) -> None:
    assert same(kind, of(ours, kind), theirs) is expected


def test_one_different_value_outweighs_an_undecided_one() -> None:
    kind = pa.struct([("at", pa.timestamp("us")), ("n", pa.int64())])
    assert same(kind, of({"at": datetime(2024, 1, 1), "n": 1}, kind), {"at": "soon", "n": 2}) is False


def test_plain_objects() -> None:
    value = {"at": datetime(1970, 1, 1, 0, 0, 1), "days": (date(1970, 1, 2),), "text": "x"}
    assert plain_object(value) == {
        "at": instant(SECOND), "days": [Moment("date", 86_400 * SECOND, 86_400 * SECOND)], "text": "x"
    }  # fmt: skip


def test_every_difference_is_documented() -> None:
    page = (Path(json2vec.__file__).parents[1] / "docs" / "rank-files.md").read_text()
    for files, theirs, equal in DIFFERENCES:
        assert f"| {files} | {theirs} | {equal} |" in page
