"""The type that stores a value never shows: not in a row as a function sees it, not in a label, not in an encoding."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import zoneinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import json2vec as j2v
from json2vec.reading.preprocessing import PreprocessorRun
from json2vec.reading.readers import read_rows
from json2vec.reading.records import has_inexact_times, key_of, keys, record_json, records, texts, values
from json2vec.reading.row_batch import Rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
ZONES = [dt.UTC, BERLIN, dt.timezone(dt.timedelta(hours=-3, minutes=-30))]
NAIVE = [dt.datetime(2026, 1, 31, 10, 20, 30), None, dt.datetime(1913, 7, 1), dt.datetime(2026, 1, 31, 10, 20, 30)]
AWARE = [value and value.replace(tzinfo=dt.UTC) for value in NAIVE]
CLOCKS = [dt.time(9, 30), None, dt.time(17, 0, 1), dt.time(9, 30)]
SPANS = [dt.timedelta(hours=1), None, dt.timedelta(days=-3), dt.timedelta(hours=1)]
DAYS = [dt.date(2026, 1, 31), None, dt.date(1913, 7, 1), dt.date(2026, 1, 31)]
WHOLE = [1, None, 100, 1]
MONEY = [Decimal("1.10"), None, Decimal("100"), Decimal("1.1")]
UNITS = ("s", "ms", "us", "ns")

# Python values, and every Arrow type that holds them.
CASES: dict[str, tuple[list[Any], list[pa.DataType]]] = {
    "texts": (["red", None, "é", "red"], [pa.string(), pa.large_string(), pa.string_view()]),
    "bytes": ([b"red", None, b"abc", b"red"], [pa.binary(), pa.large_binary(), pa.binary(3), pa.binary_view()]),
    "booleans": ([True, None, False, True], [pa.bool_()]),
    "integers": (WHOLE, [pa.int8(), pa.int16(), pa.int32(), pa.int64(),
                         pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]),
    "floats": ([1.5, None, -2.0, 1.5], [pa.float16(), pa.float32(), pa.float64()]),
    "decimals": (MONEY, [pa.decimal32(6, 2), pa.decimal64(9, 4), pa.decimal128(38, 3), pa.decimal256(76, 2)]),
    "dates": (DAYS, [pa.date32(), pa.date64()]),
    "naive": (NAIVE, [pa.timestamp(unit) for unit in UNITS]),
    "aware": (AWARE, [pa.timestamp(unit, zone) for unit in UNITS
                      for zone in ("UTC", "Etc/UTC", "+00:00", "Europe/Berlin", "+01:00")]),
    "clocks": (CLOCKS, [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]),
    "spans": (SPANS, [pa.duration(unit) for unit in UNITS]),
    "nothing": ([None] * 4, [pa.null(), pa.string(), pa.int64(), pa.timestamp("ns")]),
}  # fmt: skip


def stored(array: pa.Array) -> list[pa.Array]:
    """The same values: as they are, in a slice, in a dictionary, in run ends."""
    ways = [array, pa.concat_arrays([array, array]).slice(len(array))]
    if not pa.types.is_null(array.type) and not pa.types.is_float16(array.type):
        dense = array.cast(array.type)
        ways.append(pa.DictionaryArray.from_arrays(pa.array(range(len(dense)), pa.int8()), dense))
        ways.append(pa.RunEndEncodedArray.from_arrays(pa.array(range(1, len(dense) + 1), pa.int32()), dense))
    return ways


def arrays(name: str) -> list[pa.Array]:
    python, kinds = CASES[name]
    return [way for kind in kinds for way in stored(pa.array(python, kind))]


def nested(array: pa.Array) -> list[tuple[pa.Array, list[Any]]]:
    """``array`` inside of everything that has items, and the Python values; two rows, the second of two items."""
    one, back = array.slice(0, 4), values(array)
    offsets = [0, 2, 4]
    pairs = [back[:2], back[2:4]]
    names = pa.array(["a", "b", "a", "c"])
    structs = pa.StructArray.from_arrays([one], ["x"])
    return [
        (structs, [{"x": value} for value in back]),
        (pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), one), pairs),
        (pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), one), pairs),
        (pa.FixedSizeListArray.from_arrays(one, 2), pairs),
        (pa.ListViewArray.from_arrays(pa.array([2, 0], pa.int32()), pa.array([2, 2], pa.int32()), one), pairs[::-1]),
        (pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs),
         [[{"x": value} for value in pair] for pair in pairs]),
        (pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), names, one),
         [dict(zip("ab", pairs[0], strict=True)), dict(zip("ac", pairs[1], strict=True))]),
    ]  # fmt: skip


def same(found: Any, expected: Any) -> bool:
    """Equal values of equal classes; a zone may be spelled differently."""
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and found == expected


@pytest.mark.parametrize("name", CASES)
def test_a_row_is_the_same_whatever_type_stores_it(name: str) -> None:
    for array in arrays(name):
        rows = [{"x": value} for value in CASES[name][0]]
        assert same(records(pa.record_batch({"x": array})), rows), array.type
        assert same(list(Rows(pa.record_batch({"x": array}))), rows), array.type
        for inside, expected in nested(array):
            assert same(values(inside), expected), inside.type
            assert not has_inexact_times(inside)


def model(*fields: Any) -> j2v.Model:
    torch.manual_seed(0)
    return j2v.Model.from_schema(
        *fields, j2v.Number("y", target=True), d_model=8, n_layers=1, n_heads=2, batch_size=4
    ).eval()


def encoded(made: j2v.Model, rows: Any) -> Any:
    """What a model sees of rows, or that it refuses them."""
    try:
        fields = made.encode(rows).fields
    except j2v.EncodeError as exc:
        return f"row {exc.row}"
    return {str(address): (field.state.tolist(), {key: value.tolist() for key, value in field.content.items()})
            for address, field in fields.items()}  # fmt: skip


FIELDS = {
    "category": lambda query: j2v.Category("x", query=query),
    "number": lambda query: j2v.Number("x", query=query),
    "dateparts": lambda query: j2v.DateParts("x", query=query, dateparts=["hour_of_day", "day_of_month"]),
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", CASES)
def test_an_encoding_is_the_same_whatever_type_stores_it(field: str, name: str) -> None:
    rows = [{"x": value, "m": {"k": value}} for value in CASES[name][0]]
    for query, column in (("[*].x", "x"), ("[*].m.k", "m"), ("[*].m.k | @", "m"), ("[*].x | @", "x")):
        made = model(FIELDS[field](query))
        if field == "category":
            made.learn(rows)
        expected = encoded(made, rows)
        for array in arrays(name):
            one = array
            if column == "m":
                one = pa.MapArray.from_arrays(pa.array(range(5), pa.int32()), pa.array(["k"] * 4), array.slice(0, 4))
            assert encoded(made, pa.record_batch({column: one})) == expected, (query, array.type)


@pytest.mark.parametrize("name", CASES)
def test_entities_and_sets_are_the_same_whatever_type_stores_them(name: str) -> None:
    python = CASES[name][0]
    rows = [{"xs": python}, {"xs": python[::-1]}]
    made = model(j2v.Array(j2v.Entity("e", query="[*].xs[*]"), name="xs", max_length=4), j2v.Set("s", query="[*].xs"))
    made.learn(rows)
    expected = encoded(made, rows)
    assert not isinstance(expected, str)
    for array in arrays(name):
        if pa.types.is_run_end_encoded(array.type):
            continue  # Arrow has no concatenation of them
        both = pa.concat_arrays([array, *(array.slice(i, 1) for i in (3, 2, 1, 0))])
        column = pa.ListArray.from_arrays(pa.array([0, 4, 8], pa.int32()), both)
        assert encoded(made, pa.record_batch({"xs": column})) == expected, array.type


@pytest.mark.parametrize("name", CASES)
def test_labels_that_were_learned_from_columns_are_those_of_records(name: str) -> None:
    rows = [{"x": value} for value in CASES[name][0]]
    for array in arrays(name):
        made = model(j2v.Category("x"))
        made.learn(pa.record_batch({"x": array}))
        known = encoded(made, rows)["record/x"][1]["value"]
        assert np.array(known).max() < made.schema.leaves["record/x"].max_vocab_size, array.type


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_files_give_the_rows_and_the_encodings_of_records(tmp_path: Path, suffix: str) -> None:
    python = {name: CASES[name][0] for name in CASES}
    rows = [dict(zip(python, row, strict=True)) for row in zip(*python.values(), strict=True)]
    made = model(*(j2v.Category(name) for name in python))
    made.learn(rows)
    expected = encoded(made, rows)
    seen: list[Any] = []

    def note(row: dict[str, Any]) -> dict[str, Any]:
        seen.append(dict(row))
        return row

    for turn in range(max(len(kinds) for _, kinds in CASES.values())):
        table = pa.table({
            name: pa.array(value, kinds[turn % len(kinds)]) for name, (value, kinds) in CASES.items()
        })  # fmt: skip
        path = tmp_path / f"{turn}.{suffix}"
        if suffix == "parquet":
            at = table.schema.get_field_index("spans")
            pq.write_table(table.set_column(at, "spans", table["spans"].cast(pa.duration("us"))), path)
        else:
            pyarrow.feather.write_feather(table, str(path), compression="uncompressed")
        store = LocalStore(tmp_path)
        snapshot = snapshot_files(store, suffix)
        ranges = [(0, 4)]
        for preprocessor in (None, j2v.preprocess(note)):
            (batch,) = read_rows(snapshot, store, ranges, batch_size=4, preprocessor=preprocessor)
            assert encoded(made, batch) == expected
            assert same(list(Rows(batch.observations)), rows)
        assert same(seen, rows)
        seen.clear()
        path.unlink()


def test_a_map_is_a_dict_with_text_keys_and_the_last_of_repeated_ones() -> None:
    maps = pa.array([[(1, "a"), (2, "b"), (1, "c")], [], None], pa.map_(pa.int32(), pa.string()))
    assert values(maps) == [{"1": "c", "2": "b"}, {}, None]
    made = model(j2v.Category("c", query='[*].m."1"'), j2v.Category("d", query='[*].m."1" | @'))
    made.learn([{"m": {"1": "a"}}, {"m": {"1": "c"}}])
    rows = encoded(made, pa.record_batch({"m": maps}))
    assert rows["record/c"] == rows["record/d"] == encoded(made, [{"m": v} for v in values(maps)])["record/c"]
    odd = pa.array([[(b"\xff", 1)]], pa.map_(pa.binary(), pa.int64()))
    assert values(odd) == [{"/w==": 1}]


FAR = pa.array([1_769_853_600_123_456_789, 1_769_853_600_123_456_000, None], pa.timestamp("ns"))


def test_times_that_python_does_not_hold_are_texts_with_every_digit() -> None:
    assert values(FAR) == ["2026-01-31T10:00:00.123456789", dt.datetime(2026, 1, 31, 10, 0, 0, 123456), None]
    assert values(FAR.cast(pa.timestamp("ns", "Europe/Berlin")))[0] == "2026-01-31T10:00:00.123456789Z"
    assert values(pa.array([5, -5], pa.duration("ns"))) == ["PT0.000000005S", "-PT0.000000005S"]
    assert values(pa.array([34_200_000_000_005], pa.time64("ns"))) == ["09:30:00.000000005"]
    assert values(pa.array([10**7], pa.date32())) == ["29349-01-26"]
    assert values(pa.array([10**12], pa.timestamp("s"))) == ["33658-09-27T01:46:40"]
    assert has_inexact_times(pa.StructArray.from_arrays([FAR], ["x"]))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_preprocessor_that_leaves_such_a_time_alone_loses_no_digit_of_it(wrapped: bool) -> None:
    column = pa.StructArray.from_arrays([FAR], ["x"]) if wrapped else FAR
    batch = pa.record_batch({"a": column, "n": [1, 2, 3]})
    run = PreprocessorRun(j2v.preprocess(lambda row: row | {"n": row["n"] + 1} if row["n"] != 2 else None))
    made, origin = run(batch, str)
    assert origin.tolist() == [0, 2]
    assert made["a"].equals(column.take(pa.array([0, 2])))
    assert made["n"].to_pylist() == [2, 4]


def test_what_a_label_was_learned_as_stays_its_label() -> None:
    """Labels of checkpoints: texts of a zone's own clock, and of decimals with the scale of their column."""
    made = model(j2v.Category("x"))
    made.learn([{"x": "2026-01-31 11:20:30.000000+0100"}, {"x": "1.10"}, {"x": "09:30:00.000000"}])
    at = pa.array([NAIVE[0]], pa.timestamp("ms", "UTC"))
    money, clock = pa.array([Decimal("1.1")], pa.decimal128(20, 5)), pa.array(CLOCKS[:1], pa.time32("s"))
    for index, value in enumerate([at, money, clock]):
        assert encoded(made, pa.record_batch({"x": value}))["record/x"][1]["value"] == [[index]]
    same_instant = [{"x": dt.datetime(2026, 1, 31, 11, 20, 30, tzinfo=BERLIN)}, {"x": AWARE[0]}]
    assert encoded(made, same_instant)["record/x"][1]["value"] == [[0], [0]]
    other = model(j2v.Category("x"))
    other.learn(same_instant)
    assert other.vocabularies["record/x"].labels == ["2026-01-31 11:20:30.000000+0100"]


def test_bytes_that_are_no_text_are_no_label_and_say_their_row() -> None:
    made = model(j2v.Category("x"))
    for rows in ([{"x": b"red"}, {"x": b"\xff"}], pa.record_batch({"x": pa.array([b"red", b"\xff"], pa.binary())})):
        with pytest.raises(j2v.EncodeError, match=r"record/x: .*bytes have to be UTF-8.*Remedy.*row 1"):
            made.encode(rows)


def test_a_record_as_json_shows_what_json_has_not() -> None:
    text = record_json({"b": b"red", "c": b"\xff", "t": CLOCKS[0], "d": Decimal("1.10"), "é": None})
    assert json.loads(text) == {"b": "red", "c": "/w==", "t": "09:30:00", "d": "1.10", "é": None}


@settings(max_examples=200, deadline=None)
@given(st.one_of(
    st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2300, 1, 1), timezones=st.sampled_from(ZONES)),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-10**9, max_value=10**9),
    st.times(), st.dates(), st.timedeltas(dt.timedelta(-9999), dt.timedelta(9999)), st.datetimes(),
))  # fmt: skip
def test_the_key_of_a_text_is_the_key_of_its_value(value: Any) -> None:
    array = pa.array([value])
    text = texts(array)[0].as_py()
    assert keys(array)[0].as_py() in (text, key_of(text))
    if isinstance(value, Decimal) or getattr(value, "tzinfo", None) is not None:
        assert keys(array)[0].as_py() == key_of(text)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.dictionaries(st.text(max_size=3), st.none() | st.integers(0, 9)), max_size=6))
def test_maps_of_any_shape_are_their_dicts(rows: list[Any]) -> None:
    maps = pa.array(rows, pa.map_(pa.string(), pa.int64()))
    for start, stop in itertools.combinations(range(len(rows) + 1), 2):
        assert values(maps.slice(start, stop - start)) == rows[start:stop]


TABLE = {
    "`bool`": "booleans", "`int8` to `uint64`": "integers", "`float16` to `double`": "floats",
    "`decimal32` to `decimal256`": "decimals", "`string`, of any kind": "texts", "`binary`, of any kind": "bytes",
    "`date32`, `date64`": "dates", "`timestamp` of any unit": "naive", "`timestamp` with a zone": "aware",
    "`time32`, `time64`": "clocks", "`duration`": "spans",
}  # fmt: skip


def test_the_table_of_the_documentation_says_what_happens() -> None:
    page = (Path(j2v.__file__).parent.parent / "docs" / "processors.md").read_text()
    lines = page.split("| Arrow type |")[1].split("\n\n")[0].splitlines()[2:]
    table = {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)}
    for kind, name in TABLE.items():
        found, label = table.pop(kind)
        value = CASES[name][0][0]
        assert f"`{type(value).__name__}`" == found.split(" with")[0]
        made = model(j2v.Category("x"))
        made.learn([{"x": value}])
        learned = made.vocabularies["record/x"].labels[0]
        assert label == "the value" if learned == value else label == "its UTF-8 text; other bytes are an error" or (
            f"`{learned}`" in label
        ), kind
    kinds = {"lists, of any kind": pa.list_(pa.int8()), "`struct`": pa.struct([("a", pa.int8())]),
             "`map`": pa.map_(pa.string(), pa.int8())}  # fmt: skip
    for kind, arrow in kinds.items():
        found, _ = table.pop(kind)
        (value,) = values(pa.array([[]] if "list" in kind else [{}], arrow))
        assert f"`{type(value).__name__}`" == found
    assert list(table) == ["`dictionary`, run-end encoded"]
