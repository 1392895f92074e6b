"""The row hash against a plain Python reading of its definition, and its promises as properties."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json2vec.reading.row_hash import ROW_HASH, row_hash

M = 2**64
NAMES = ["NUMBER", "INTEGER", "UNSIGNED", "BOOLEAN", "TEXT", "BYTES", "DECIMAL", "TIME", "CLOCK", "DURATION"]
NAMES += ["SUBMICRO", "STRUCT", "LIST", "STEP"]
TAG = {name: 0x9E3779B97F4A7C15 * (i + 1) % M for i, name in enumerate(NAMES)}


def mix(x: int) -> int:
    x %= M
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % M
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % M
    return x ^ (x >> 31)


def text(data: bytes, tag: str) -> int:
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    return mix(len(data) + TAG[tag] + sum(mix(word ^ mix(j + 1)) for j, word in enumerate(words)))


def value(x: Any) -> int:
    """The hash of a Python value, by the words of the module's docstring."""
    if isinstance(x, bool):
        return mix(int(x) + TAG["BOOLEAN"])
    if isinstance(x, int):
        if abs(x) < 2**70 and int(float(x)) == x:
            return value(float(x))
        return mix(x + TAG["UNSIGNED" if x >= 2**63 else "INTEGER"])
    if isinstance(x, float):
        bits = 0x7FF8000000000000 if math.isnan(x) else struct.unpack("<Q", struct.pack("<d", x + 0.0))[0]
        return mix(bits + TAG["NUMBER"])
    if isinstance(x, str):
        return text(x.encode(), "TEXT")
    if isinstance(x, bytes):
        return text(x, "BYTES")
    if isinstance(x, Decimal):
        _, digits, exponent = x.normalize().as_tuple()
        sign = "-" if x < 0 else ""
        return text(f"{sign}{''.join(map(str, digits))}E{exponent if x else 0}".encode(), "DECIMAL")
    if isinstance(x, datetime):
        x = x if x.tzinfo else x.replace(tzinfo=UTC)
        return mix((x - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + TAG["TIME"])
    if isinstance(x, date):
        return value(datetime(x.year, x.month, x.day))
    if isinstance(x, time):
        return mix(((x.hour * 60 + x.minute) * 60 + x.second) * 10**6 + x.microsecond + TAG["CLOCK"])
    if isinstance(x, timedelta):
        return mix(x // timedelta(microseconds=1) + TAG["DURATION"])
    if isinstance(x, dict):
        return mix(TAG["STRUCT"] + sum(field(k, v) for k, v in x.items()))
    if isinstance(x, list):
        items = sum(mix(value(v) + (j + 1) * TAG["STEP"]) for j, v in enumerate(x) if v is not None)
        return mix(TAG["LIST"] + len(x) * TAG["STEP"] + items)
    raise TypeError(type(x))


def field(name: str, x: Any) -> int:
    return 0 if x is None else mix(value(x) + text(name.encode(), "TEXT"))


def reference(row: dict[str, Any]) -> int:
    return mix(sum(field(name, x) for name, x in row.items()))


ROWS: list[dict[str, Any]] = [
    {"i": 1, "f": 1.0, "s": "", "b": True, "n": {"x": [1, None, 3], "y": {"z": "é"}}, "l": [{"p": 1.5}, None, {}]},
    {"i": -5, "f": -0.0, "s": "12345678", "b": False, "n": {"x": [], "y": None}, "l": []},
    {"i": 2**60 + 1, "f": math.nan, "s": "123456789", "b": None, "n": {"x": None, "y": {"z": None}}, "l": None},
    {"i": -(2**63), "f": math.inf, "s": None, "b": True, "n": None, "l": [None]},
    {"i": None, "f": None, "s": "ü" * 40, "b": None, "n": {"x": [2**53 + 1], "y": {"z": "a" * 17}}, "l": [{"p": None}]},
]


def table(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_struct_array(pa.array(rows))


PINNED = [
    "0xca04d7863dd16b22",
    "0xac4b8d345c57ba18",
    "0x4a2d6f403e58ca57",
    "0x79679251a150ef39",
    "0xe102794d8ca108c",
]


def test_equals_the_definition() -> None:
    assert row_hash(table(ROWS)).tolist() == [reference(row) for row in ROWS]


def test_pinned_vectors() -> None:
    """These numbers stand in files: if they change, ROW_HASH has to change too."""
    assert ROW_HASH == "j2v-rowhash-1"
    assert [hex(h) for h in row_hash(table(ROWS)).tolist()] == PINNED
    assert hex(int(row_hash(pa.record_batch({"a": [None]}))[0])) == "0x0"



@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2**64 - 1, 2**63, 5], pa.uint64()),
        ([1, -1, 127], pa.int8()),
        ([1.5, -0.0], pa.float32()),
        ([b"", b"12345678", b"x" * 9], pa.binary()),
        ([b"1234", b"abcd"], pa.binary(4)),
        ([Decimal("1.50"), Decimal("-0.00"), Decimal("120.00")], pa.decimal128(10, 2)),
        ([Decimal("1200"), Decimal("-100")], pa.decimal128(5, -2)),
        ([Decimal("-1.25"), Decimal("7.00")], pa.decimal32(5, 2)),
        ([Decimal("0.0000000100"), Decimal("0.0000000000")], pa.decimal128(20, 10)),
        ([date(2013, 1, 20), date(1960, 1, 1)], pa.date32()),
        ([date(2013, 1, 20)], pa.date64()),
        ([datetime(2013, 1, 20, 5), datetime(1960, 1, 1)], pa.timestamp("s")),
        ([datetime(2013, 1, 20, 5, 6, 7, 89)], pa.timestamp("ns")),
        ([datetime(2013, 1, 20, 5, tzinfo=UTC)], pa.timestamp("ms", "Europe/Berlin")),
        ([time(5, 6, 7)], pa.time32("s")),
        ([time(5, 6, 7, 8)], pa.time64("ns")),
        ([timedelta(seconds=3)], pa.duration("ms")),
        ([[1, 2], [3, None]], pa.list_(pa.int64(), 2)),
        ([[1, 2], [3, None], []], pa.large_list(pa.int64())),
        (["a", None, "b"], pa.dictionary(pa.int8(), pa.string())),
        (["a", "longer than the inline part of a view"], pa.string_view()),
    ],
)
def test_every_type_equals_the_definition(values: list[Any], kind: pa.DataType) -> None:
    array = pa.array(values, kind)
    expected = [reference({"c": x}) for x in values]
    assert row_hash(pa.record_batch({"c": array})).tolist() == expected
    padded = pa.concat_arrays([array, array]).slice(1, len(array))
    rotated = expected[1:] + expected[:1]
    assert row_hash(pa.record_batch({"c": padded})).tolist() == rotated


def test_numbers_hash_by_value() -> None:
    def one(values: Any, kind: pa.DataType) -> int:
        return int(row_hash(pa.record_batch({"c": pa.array([values], kind)}))[0])

    assert len({one(3, kind) for kind in (pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64())}) == 1
    assert one(0.0, pa.float64()) == one(-0.0, pa.float64())
    quiet, other = np.array([0x7FF8000000000000, 0xFFF8000000000001], np.uint64).view(np.float64)
    assert one(quiet, pa.float64()) == one(other, pa.float64())
    assert one(2**60 + 1, pa.int64()) != one(2**60, pa.int64())
    assert one(-1, pa.int64()) != one(2**64 - 1, pa.uint64())
    assert one(True, pa.bool_()) != one(1, pa.int64())
    assert one(Decimal("1.5"), pa.decimal128(5, 1)) == one(Decimal("1.5"), pa.decimal256(40, 9))


def test_nanoseconds_count() -> None:
    a, b = pa.array([1000, 1001], pa.timestamp("ns"))
    both = row_hash(pa.record_batch({"c": pa.array([a, b], pa.timestamp("ns"))}))
    assert both[0] != both[1]
    assert both[0] == row_hash(pa.record_batch({"c": pa.array([1], pa.timestamp("us"))}))[0]


def test_maps_are_lists_of_entries() -> None:
    kind = pa.map_(pa.string(), pa.int64())
    array = pa.array([[("x", 0)], [("a", 1), ("b", None)], None, []], kind).slice(1)
    entries = [[{"key": "a", "value": 1}, {"key": "b", "value": None}], None, []]
    assert row_hash(pa.record_batch({"m": array})).tolist() == [reference({"m": e}) for e in entries]


def test_what_looks_alike_differs() -> None:
    kind = pa.struct([("l", pa.list_(pa.int64())), ("s", pa.struct([("x", pa.int64())])), ("t", pa.string())])
    rows = [
        {"l": None}, {"l": []}, {"l": [None]}, {"l": [None, None]}, {"l": [1, None]}, {"l": [None, 1]}, {"s": {}},
        {"t": ""}, {"t": "\0"}, {"t": "\0\0"}, {"t": "abcdefgh12345678"}, {"t": "12345678abcdefgh"},
    ]  # fmt: skip
    hashes = row_hash(pa.RecordBatch.from_struct_array(pa.array(rows, kind)))
    assert len(set(hashes.tolist())) == len(rows)


def test_a_null_list_that_owns_values_is_null() -> None:
    owning = pa.ListArray.from_arrays(pa.array([0, 2, 3]), pa.array([1, 2, 3]), mask=pa.array([True, False]))
    assert row_hash(pa.record_batch({"l": owning})).tolist() == [reference({}), reference({"l": [3]})]


def test_unifying_schemas_changes_nothing() -> None:
    narrow = table([{"a": 1, "n": [{"x": 1}]}])
    wide = pa.RecordBatch.from_struct_array(
        pa.array(
            [{"a": 1, "n": [{"x": 1}]}],
            pa.struct([("z", pa.string()), ("n", pa.large_list(pa.struct([("y", pa.null()), ("x", pa.float64())]))),
                       ("a", pa.float64())]),
        )
    )  # fmt: skip
    assert row_hash(narrow).tolist() == row_hash(wide).tolist()


def test_file_formats_agree(tmp_path) -> None:
    rows = pa.Table.from_batches([table(ROWS)])
    pq.write_table(rows, tmp_path / "a.parquet", row_group_size=2)
    pyarrow.feather.write_feather(rows, str(tmp_path / "a.feather"))
    expected = row_hash(rows).tolist()
    assert row_hash(pq.read_table(tmp_path / "a.parquet")).tolist() == expected
    assert row_hash(pyarrow.feather.read_table(str(tmp_path / "a.feather"))).tolist() == expected


def test_unions_have_no_hash() -> None:
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    with pytest.raises(TypeError, match="union"):
        row_hash(pa.record_batch({"u": union}))


LEAF = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
TEXT = st.one_of(st.none(), st.text(max_size=20))
ITEMS = st.lists(st.one_of(st.none(), st.fixed_dictionaries({"x": TEXT})))
RECORD = st.fixed_dictionaries({"a": LEAF, "t": TEXT, "l": st.one_of(st.none(), ITEMS)})
KIND = pa.struct([("a", pa.int64()), ("t", pa.string()), ("l", pa.list_(pa.struct([("x", pa.string())])))])


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORD, min_size=1, max_size=12), st.data())
def test_slices_chunks_and_column_order(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    batch = pa.RecordBatch.from_struct_array(pa.array(rows, KIND))
    hashes = row_hash(batch)
    assert hashes.tolist() == [reference(row) for row in rows]
    a = data.draw(st.integers(0, len(rows)))
    b = data.draw(st.integers(a, len(rows)))
    np.testing.assert_array_equal(row_hash(batch.slice(a, b - a)), hashes[a:b])
    chunked = pa.Table.from_batches([batch.slice(0, a), batch.slice(a)], schema=batch.schema)
    np.testing.assert_array_equal(row_hash(chunked), hashes)
    np.testing.assert_array_equal(row_hash(batch.select(data.draw(st.permutations(["a", "t", "l"])))), hashes)


@settings(max_examples=60, deadline=None)
@given(RECORD, RECORD)
def test_another_row_has_another_hash(one: dict[str, Any], two: dict[str, Any]) -> None:
    a, b = row_hash(pa.RecordBatch.from_struct_array(pa.array([one, two], KIND))).tolist()
    assert (a == b) == (one == two)


def test_many_rows_cross_blocks() -> None:
    n = 40_000
    batch = pa.record_batch({"i": np.arange(n), "t": pa.array([f"text {i % 100}" for i in range(n)])})
    hashes = row_hash(batch)
    assert len(np.unique(hashes)) == n
    assert hashes[30_000] == reference({"i": 30_000, "t": "text 0"})
