"""NDJSON and CSV: a number comes out as the number that was written, or the row is named."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from json2vec.errors import ReadError
from json2vec.reading.formats import csv, ndjson
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore


def read(root: Path, suffix: str, on_bad_row: Any = "raise", **options: Any) -> list[dict[str, Any]]:
    store = LocalStore(root)
    made = snapshot_files(store, suffix, **options)
    batches = read_rows(made, store, [(0, made.rows)], batch_size=100, on_bad_row=on_bad_row)
    return [row for batch in batches for row in batch.inputs.to_pylist()]


def write(path: Path, values: list[str]) -> None:
    lines = [f'{{"id": {value}}}' for value in values] if path.suffix == ".ndjson" else ["id", *values]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ([["18446744073709551615", "18446744073709551614"]], r"a\.ndjson: row 0 .*'id'.*18446744073709551615.*double"),
        ([["1.5", "9007199254740993"]], r"a\.ndjson: row 1 .*'id'.*9007199254740993.*double.*Remedy"),
        ([["9007199254740993"], ["1.5"]], r"a\.ndjson: row 0 .*9007199254740993"),
        ([["[1, 0.5]", "[0.5, null, -9007199254740993]"]], r"a\.ndjson: row 1 .*-9007199254740993"),
        ([['{"x": [{"y": 9007199254740993}]}'], ['{"x": [{"y": 0.5}]}']], r"a\.ndjson: row 0 .*'id\.x\.y'"),
        ([["1" + "0" * 400, "1.5"]], r"a\.ndjson: row 0 "),
        ([["1" + "0" * 5000, "1.5"]], r"a\.ndjson: row 0 "),
    ],
)
def test_an_integer_of_ndjson_that_no_double_holds_names_its_row(
    tmp_path: Path, files: list[list[str]], named: str
) -> None:
    for name, values in zip("abc", files, strict=False):
        write(tmp_path / f"{name}.ndjson", values)
    with pytest.raises(ReadError, match=named):
        read(tmp_path, "ndjson")


def test_such_rows_can_be_set_aside_or_read_as_another_type(tmp_path: Path) -> None:
    write(tmp_path / "a.ndjson", ["18446744073709551615", "5", "18446744073709551614", "9007199254740992"])
    assert [row["id"] for row in read(tmp_path, "ndjson", "quarantine")] == [5.0, 2.0**53]
    whole = read(tmp_path, "ndjson", input_schema=pa.schema([("id", pa.uint64())]))
    assert [row["id"] for row in whole] == [2**64 - 1, 5, 2**64 - 2, 2**53]


def test_integers_that_a_double_holds_stay_as_they_were(tmp_path: Path) -> None:
    values = [str(2**70), "1.5", str(-(2**53)), "9007199254740993.0", "1e22", '"x"'][:5]
    write(tmp_path / "a.ndjson", values)
    assert [row["id"] for row in read(tmp_path, "ndjson")] == [float(value) for value in values]


def test_integers_that_a_narrow_float_does_not_hold(tmp_path: Path) -> None:
    write(tmp_path / "a.ndjson", ["16777216", "16777217"])
    with pytest.raises(ReadError, match=r"row 1 .*16777217, which float does not"):
        read(tmp_path, "ndjson", input_schema=pa.schema([("id", pa.float32())]))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([["0x1A", "0x1B"]], ["0x1A", "0x1B"]),
        ([["0xFFFFFFFFFFFFFFFF"], ["1"]], ["0xFFFFFFFFFFFFFFFF", "1"]),
        ([["1", "true"]], ["1", "true"]),
        ([["1"], ["true"]], ["1", "true"]),
        ([["0", "1"]], [0, 1]),
        ([["false", "true"]], [False, True]),
        ([["9007199254740993", "1.5"]], ["9007199254740993", "1.5"]),
        ([["18446744073709551615"], ["7"]], ["18446744073709551615", "7"]),
        ([["9007199254740992"], ["1.5"]], [2.0**53, 1.5]),
    ],
)
def test_csv_values_are_what_was_written(tmp_path: Path, files: list[list[str]], expected: list[Any]) -> None:
    for name, values in zip("abc", files, strict=False):
        write(tmp_path / f"{name}.csv", values)
    found = [row["id"] for row in read(tmp_path, "csv")]
    assert (found, list(map(type, found))) == (expected, list(map(type, expected)))


@pytest.mark.parametrize("long", ["9007199254740993", "-9007199254740993", "+12345678901234567"[1:]])
def test_a_csv_integer_that_no_double_holds_names_its_row(
    tmp_path: Path, long: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.csv", ["1", long])
    write(tmp_path / "b.csv", ["1.5"])
    with pytest.raises(ReadError, match=rf"a\.csv: row 1: column 'id' holds '{long}'.*double.*Remedy"):
        read(tmp_path, "csv")
    for module in (ndjson, csv):
        monkeypatch.setattr(module, "BLOCK_BYTES", 64)
    (tmp_path / "a.csv").write_text("id\n" + f"{long}\n" * 20 + "1.5\n" * 40)
    mixed = [row["id"] for row in read(tmp_path, "csv")]  # one block has both: all is text
    assert mixed == [long] * 20 + ["1.5"] * 41
    as_text = read(tmp_path, "csv", input_schema=pa.schema([("id", pa.string())]))
    assert as_text[0]["id"] == long


def test_hexadecimal_texts_are_no_integers_by_input_schema_either(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", ["1", "0xFFFFFFFFFFFFFFFF"])
    with pytest.raises(ReadError, match=r"a\.csv: row 1: column 'id' holds '0xF.*hexadecimal"):
        read(tmp_path, "csv", input_schema=pa.schema([("id", pa.int64())]))


NUMBER = st.one_of(
    st.integers(-(2**66), 2**66), st.integers(2**53 - 3, 2**53 + 3), st.integers(-9, 9),
    st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.5, 1.5]),
)  # fmt: skip


@pytest.mark.parametrize("suffix", ["ndjson", "csv"])
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.lists(NUMBER, min_size=1, max_size=5), min_size=1, max_size=3), nested=st.booleans())
def test_numbers_survive_or_the_error_names_file_and_row(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, files: list[list[Any]], nested: bool
) -> None:
    root = tmp_path_factory.mktemp("numbers")
    nested = nested and suffix == "ndjson"
    for name, values in zip("abc", files, strict=False):
        write(root / f"{name}.{suffix}", [f"[{json.dumps(v)}]" if nested else json.dumps(v) for v in values])
    found, message = [], ""
    try:
        found = [row["id"][0] if nested else row["id"] for row in read(root, suffix)]
    except ReadError as error:
        message = str(error)
    if message:
        assert any(f"{name}.{suffix}: row" in message for name in "abc")
        assert "'id'" in message
        return
    for value, given_value in zip(found, [v for values in files for v in values], strict=True):
        if isinstance(value, str):
            assert value == json.dumps(given_value)
        else:
            assert Fraction(value) == Fraction(given_value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_an_empty_cell_behind_a_quoted_one_is_null_at_the_end_of_a_file_too(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.csv").write_text('a,b,c\n1,"x",y\n2,"",' + end)
    assert read(tmp_path, "csv") == [{"a": 1, "b": "x", "c": "y"}, {"a": 2, "b": "", "c": None}]
