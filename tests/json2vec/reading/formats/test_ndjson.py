"""NDJSON and CSV: types that come late, bad lines, and whatever the format can hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pytest
from read_back import identities, read
from snapped import snap

from json2vec.errors import ReadError
from json2vec.reading.formats import csv, ndjson
from json2vec.reading.lasting import MAX_LISTS
from json2vec.reading.snapshot import (
    snapshot_files,
)
from json2vec.storage.local import LocalStore


def test_bad_lines_raise_or_go_aside(tmp_path: Path) -> None:
    lines = ['{"a": 0}', "", '{"a": ', '{"a": 2}', "   ", "[3]", '{"a": 4}{"a": 5}', '{"a": 5}', "null", '{"a":"x"}']
    (tmp_path / "a.ndjson").write_text("\n".join(lines))
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "ndjson", input_schema=pa.schema([("a", pa.int64())]))
    assert made.rows == 8
    with pytest.raises(ReadError, match=r"a\.ndjson: row 1 is not a JSON object.*on_bad_row='quarantine'"):
        read(made, store)
    for size in (1, 2, 100):
        batches = read(made, store, batch_size=size, on_bad_row="quarantine")
        assert identities(batches) == [("a.ndjson", row, {"a": a}) for row, a in [(0, 0), (2, 2), (5, 5)]]
        rejected = pa.concat_tables([batch.rejected.to_table() for batch in batches if batch.rejected is not None])
        assert rejected["row"].to_pylist() == [1, 3, 4, 6, 7]
        assert rejected["raw"].to_pylist() == ['{"a": ', "[3]", '{"a": 4}{"a": 5}', "null", '{"a":"x"}']
        assert set(rejected["file"].to_pylist()) == {"a.ndjson"}
        assert "changed from number to string" in rejected["reason"].to_pylist()[4]
        assert [number for batch in batches for number in range(*batch.span)] == list(range(8))
    only_bad = read(made, store, [(3, 5)], on_bad_row="quarantine")
    assert [(len(batch), batch.span, len(batch.rejected or [])) for batch in only_bad] == [(0, (3, 5), 2)]


def test_poison_records(tmp_path: Path) -> None:
    """What the format can hold comes out as it went in."""
    deep: Any = 1
    for _ in range(MAX_LISTS):
        deep = [deep]
    rows = [{"big": 2**70, "text": "x" * 9_000_000, "deep": deep}, {"big": -1.5, "text": None, "deep": None}, {}]
    (tmp_path / "a.ndjson").write_text("\n".join(json.dumps(row) for row in rows))
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "ndjson")
    (batch,) = read(made, store)
    first = batch.inputs.to_pylist()[0]
    assert (first["big"], len(first["text"]), first["deep"]) == (float(2**70), 9_000_000, deep)


def lines(path: Path, rows: list[Any]) -> None:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")


def test_ndjson_keeps_what_comes_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ndjson, csv):
        monkeypatch.setattr(module, "BLOCK_BYTES", 64)
    lines(tmp_path / "a.ndjson", [{"a": 1, "d": "2013-01-20"}] * 150 + [{"a": 1.5, "late": [{"x": None}]}])
    lines(tmp_path / "b.jsonl", [{"a": 2}] * 5)
    lines(tmp_path / "c.ndjson", [{"late": [{"x": "s"}], "third": True}])
    made = snap(tmp_path, "ndjson")
    late = pa.list_(pa.struct([("x", pa.string())]))
    assert dict(zip(made.schema.names, made.schema.types, strict=True)) == {
        "a": pa.float64(), "d": pa.string(), "late": late, "third": pa.bool_()
    }  # fmt: skip
    assert made.files["rows"].to_pylist() == [151, 5, 1]


def test_ndjson_blank_and_bad_lines(tmp_path: Path) -> None:
    lines(tmp_path / "a.ndjson", ['{"a": 1}', "", "   ", "\t\r", '{"a": ', "[1]", '{"a": 2}{"a": 3}', '  {"a": 4}'])
    made = snap(tmp_path, "ndjson")
    assert made.rows == 5
    assert made.schema.types == [pa.int64()]
    (tmp_path / "b.ndjson").write_text('\ufeff{"a": 1}\n{"a": 2}')
    assert snap(tmp_path, "ndjson").rows == 7


def test_ndjson_clashes_name_the_row(tmp_path: Path) -> None:
    lines(tmp_path / "a.ndjson", [{"a": 1}, "{", {"a": 1}, {"a": "text"}])
    with pytest.raises(ReadError, match=r"a\.ndjson: row 3: column 'a' changed from number to string"):
        snap(tmp_path, "ndjson")
    assert snap(tmp_path, "ndjson", input_schema=pa.schema([("a", pa.int64())])).rows == 4
    (tmp_path / "a.ndjson").write_text('[{"a": 1},\n {"a": 2}]\n')
    with pytest.raises(ReadError, match="none of its first 2 lines is a JSON object"):
        snap(tmp_path, "ndjson")


def test_csv_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ndjson, csv):
        monkeypatch.setattr(module, "BLOCK_BYTES", 64)
    rows = ["i,f,b,zip,long,d,n,e"]
    rows += [f"{i},{i},true,12,1234567890123456789,2013-01-20,,1" for i in range(20)]
    rows += ["20,0.5,FALSE,012,12345678901234567890,x,,1e5"]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "b.csv").write_text('f,i\n"1",7\n\n2,true\n')
    made = snap(tmp_path, "csv")
    assert made.files["rows"].to_pylist() == [21, 2]
    assert dict(zip(made.schema.names, map(str, made.schema.types), strict=True)) == {
        "i": "string", "f": "double", "b": "bool", "zip": "string", "long": "string", "d": "string", "n": "null",
        "e": "double",
    }  # fmt: skip
    (tmp_path / "c.csv").write_text("a,a\n1,2\n")
    with pytest.raises(ReadError, match=r"c\.csv: column names .* more than once"):
        snap(tmp_path, "csv")
