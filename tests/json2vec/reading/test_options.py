"""Options of reading: checked with words, kept by the snapshot, and left out of what is written where they are none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from snapped import snap

from json2vec.errors import ReadError, SchemaError
from json2vec.reading.options import DEFAULT, CsvOptions, ReadOptions, read_options
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import Snapshot
from json2vec.storage.local import LocalStore


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"csv": {"seperator": ";"}}, "csv.seperator is unknown; expected some of separator, quote"),
        ({"csv": {"separator": ";;"}}, "csv.separator=';;': expected one ASCII character"),
        ({"csv": {"separator": "§"}}, "csv.separator='§': expected one ASCII character"),
        ({"csv": {"quote": "\n"}}, "csv.quote=.*expected one ASCII character that is no line break"),
        ({"csv": {"separator": '"'}}, "separator and quote are both"),
        ({"csv": {"encoding": "utf-9"}}, "csv.encoding='utf-9': expected a text encoding of Python"),
        ({"csv": {"encoding": "hex"}}, "csv.encoding='hex': expected a text encoding"),
        ({"csv": {"header": False}}, "header is false; expected the names"),
        ({"csv": {"column_names": []}}, "csv.column_names="),
        ({"csv": 3}, "csv=3"),
        ({"empty_files": "drop"}, "empty_files='drop': Input should be 'raise' or 'skip'"),
        ({"folder_columns": "dt"}, "folder_columns='dt' is a text; expected a list"),
        ({"folder_columns": ["dt", "dt"]}, "expected each name once"),
        ({"folder_columns": ["a/b"]}, "folder_columns.0='a/b'"),
    ],
)
def test_what_cannot_be_meant_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        read_options("csv", **given)


def test_options_of_another_format_are_refused() -> None:
    with pytest.raises(SchemaError, match="csv= is for suffix 'csv'; the suffix is 'ndjson'"):
        read_options("ndjson", csv={"separator": ";"})
    assert read_options("ndjson", empty_files="skip") == ReadOptions(empty_files="skip")
    assert read_options("csv", csv=CsvOptions(separator=";")) == read_options("csv", csv={"separator": ";"})


def test_the_snapshot_keeps_them(tmp_path: Path) -> None:
    """A job and a manifest hold the snapshot, so that whoever has one reads the same rows."""
    (tmp_path / "a.csv").write_bytes("id;t\n1;ü\n".encode("latin-1"))
    options = read_options("csv", csv={"separator": ";", "encoding": "latin-1"})
    made = snap(tmp_path, "csv", options=options)
    again = Snapshot.from_json(json.loads(json.dumps(made.to_json())))
    assert (again, again.options, again.digest) == (made, options, made.digest)
    assert made.to_json()["options"] == {"csv": {"separator": ";", "encoding": "latin-1"}}
    (batch,) = read_rows(again, LocalStore(tmp_path), [(0, 1)], batch_size=10)
    assert batch.inputs.to_pylist() == [{"id": 1, "t": "ü"}]


def test_each_option_is_another_snapshot_and_none_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,t\n1,x\n")
    chosen: list[Any] = [
        {}, {"csv": {"null_values": ["x"]}}, {"csv": {"quote": None}}, {"csv": {"encoding": "latin-1"}},
        {"empty_files": "skip"},
    ]  # fmt: skip
    made = [snap(tmp_path, "csv", options=read_options("csv", **given)) for given in chosen]
    assert len({one.digest for one in made}) == len(made)
    assert len({one.listing_digest for one in made}) == 1
    assert made[0].digest == snap(tmp_path, "csv").digest
    assert "options" not in made[0].to_json()
    assert DEFAULT.to_plain() == {}
    assert Snapshot.from_json(made[0].to_json()).options == DEFAULT


@pytest.mark.parametrize("suffix", ["parquet", "feather", "orc", "avro", "csv", "ndjson", "json"])
def test_a_file_without_a_byte_is_an_error_or_has_no_rows(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"part-0.{suffix}").touch()
    with pytest.raises(ReadError, match=rf"part-0\.{suffix} is empty \(0 bytes\).*empty_files='skip'"):
        snap(tmp_path, suffix)
    made = snap(tmp_path, suffix, options=read_options(suffix, empty_files="skip"))
    (file,) = made.files.select(["path", "size", "rows"]).to_pylist()
    assert file == {"path": f"part-0.{suffix}", "size": 0, "rows": 0}
    assert list(read_rows(made, LocalStore(tmp_path), [(0, 0)], batch_size=1)) == []


def test_empty_files_beside_others(tmp_path: Path) -> None:
    for name, data in (("a", b""), ("b", b'{"id":1}\n'), ("c", gzip.compress(b"")), ("d", b'{"id":2}\n')):
        (tmp_path / f"{name}.ndjson").write_bytes(data)
    made = snap(tmp_path, "ndjson", options=read_options("ndjson", empty_files="skip"))
    assert made.files["rows"].to_pylist() == [0, 1, 0, 1]
    batches = list(read_rows(made, LocalStore(tmp_path), [(0, 2)], batch_size=10))
    assert [row for batch in batches for row in batch.inputs.to_pylist()] == [{"id": 1}, {"id": 2}]
