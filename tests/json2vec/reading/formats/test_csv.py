"""CSV by option: separators, encodings, names and nulls; and what is refused, with a remedy that works."""

from __future__ import annotations

import csv as python_csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapped import snap

from json2vec.errors import ReadError
from json2vec.reading.formats import csv
from json2vec.reading.formats.csv import csv_format
from json2vec.reading.options import CsvOptions, read_options
from json2vec.reading.readers import read_rows
from json2vec.reading.row_batch import RowBatch
from json2vec.storage.local import LocalStore


def read(data: bytes, **options: Any) -> list[dict[str, str | None]]:
    """The good rows, as text."""
    return [row for piece in pieces(data, **options) for row in piece.batch.to_pylist()]


def pieces(data: bytes, **options: Any) -> list[Any]:
    form = csv_format(CsvOptions(**options))
    rows, schema = form.count(io.BytesIO(data), "a.csv", True)
    assert form.count(io.BytesIO(data), "a.csv", False) == (rows, None)
    assert schema is not None
    found = list(form.read(io.BytesIO(data), "a.csv", 0, rows, schema))
    assert sum(len(piece.rows) + len(piece.bad) for piece in found) == rows
    return found


def batches(root: Path, *, on_bad_row: Any = "raise", **options: Any) -> list[RowBatch]:
    made = snap(root, "csv", options=read_options("csv", csv=options))
    return list(read_rows(made, LocalStore(root), [(0, made.rows)], batch_size=100, on_bad_row=on_bad_row))


@pytest.mark.parametrize(
    ("data", "options", "rows"),
    [
        (b"a;b\n1;2,5\n", {"separator": ";"}, [{"a": "1", "b": "2,5"}]),
        (b"a\tb\n1\t\n", {"separator": "\t"}, [{"a": "1", "b": None}]),
        (b"a,b\n'1,2',3\n", {"quote": "'"}, [{"a": "1,2", "b": "3"}]),
        (b'a,b\n"1,2\n', {"quote": None}, [{"a": '"1', "b": "2"}]),
        ("ü,b\nß,2\n".encode("latin-1"), {"encoding": "latin-1"}, [{"ü": "ß", "b": "2"}]),
        ("a,b\n€,2\n".encode("cp1252"), {"encoding": "cp1252"}, [{"a": "€", "b": "2"}]),
        ("a,b\n€,2\n".encode("utf-16"), {"encoding": "utf-16"}, [{"a": "€", "b": "2"}]),
        ("a,b\n€,2\n".encode("utf-32"), {"encoding": "utf-32"}, [{"a": "€", "b": "2"}]),
        (b'a,b\nNA,"NA"\n,""\n-,x\n', {"null_values": ("", "NA", "-")},
         [{"a": None, "b": "NA"}, {"a": None, "b": ""}, {"a": None, "b": "x"}]),
        (b"1,2\n3,4\n", {"header": False, "column_names": ("p", "q")}, [{"p": "1", "q": "2"}, {"p": "3", "q": "4"}]),
        (b"id,\n3,4\n", {"column_names": ("p", "q")}, [{"p": "3", "q": "4"}]),
        (b"a;b\n3\n", {"column_names": ("a;b",)}, [{"a;b": "3"}]),
        (b'"a;b"\n3\n', {}, [{"a;b": "3"}]),
        (b"id,,x\n1,2,3\n", {}, [{"id": "1", "": "2", "x": "3"}]),
        (b"a,b\r1,2\r3,4", {}, [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        (b"\r\n\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4"[2:], {}, [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        ("a,b\n1,x\u2028y\x0b\x0c\x85z\n".encode(), {}, [{"a": "1", "b": "x\u2028y\x0b\x0c\x85z"}]),
        (b'a\n""\n\nx\n', {}, [{"a": ""}, {"a": "x"}]),
        (b"a,b\n1,\0x\n", {}, [{"a": "1", "b": "\0x"}]),
        (b"a,b\n", {}, []),
    ],
)  # fmt: skip
def test_what_is_read(data: bytes, options: dict[str, Any], rows: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(data, **options) == rows
    monkeypatch.setattr(csv, "BLOCK_BYTES", 3)
    assert read(data, **options) == rows


CELLS = st.text(st.sampled_from('a";,\n\r ü€'), max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=6), st.sampled_from([",", ";", "\t", "|"]),
       st.sampled_from(["utf-8", "utf-16", "cp1252", "utf-32-be"]), st.integers(1, 40))  # fmt: skip
def test_every_text_comes_out_as_it_went_in(rows: list[list[str]], separator: str, encoding: str, size: int) -> None:
    file = io.StringIO()
    writer = python_csv.writer(file, delimiter=separator, quoting=python_csv.QUOTE_ALL)
    writer.writerows([["one", "two"], *rows])
    before, csv.BLOCK_BYTES = csv.BLOCK_BYTES, size
    try:
        found = read(file.getvalue().encode(encoding), separator=separator, encoding=encoding)
    finally:
        csv.BLOCK_BYTES = before
    assert found == [{"one": row[0], "two": row[1]} for row in rows]


@pytest.mark.parametrize(
    ("data", "message", "remedy"),
    [
        (b"a;b\n1;2\n", r"the header is one column 'a;b' that holds ';'", {"separator": ";"}),
        (b"a|b\n1|2\n", r"the header is one column 'a\|b' that holds '\|'", {"separator": "|"}),
        (b"a\tb\n1\t2\n", r"csv=\{'separator': '\\t'\}", {"separator": "\t"}),
        ("ü,b\n1,2\n".encode("latin-1"), "the header is no UTF-8.*'encoding': 'latin-1'", {"encoding": "latin-1"}),
        ("a,b\n1,2\n".encode("utf-16"), "a.csv is UTF-16.*'encoding'", {"encoding": "utf-16"}),
        ("a,b\n1,2\n".encode("utf-16-be"), "a.csv is UTF-16.*'encoding'", {"encoding": "utf-16-be"}),
        ("a,b\n1,2\n".encode("utf-32"), "a.csv is UTF-32.*'encoding'", {"encoding": "utf-32"}),
        (b"a,a\n1,2\n", r"\['a', 'a'\] occur more than once", {"column_names": ("p", "q")}),
        (b",\n1,2\n", r"\['', ''\] occur more than once", {"column_names": ("p", "q")}),
        (b'a,b\n1,"x\n2,y\n', "row 0 begins a cell with a quote that is never closed", {"quote": None}),
    ],
)
def test_what_is_refused_has_a_remedy_that_works(data: bytes, message: str, remedy: dict[str, Any]) -> None:
    with pytest.raises(ReadError, match=message) as refused:
        read(data)
    assert "a.csv" in str(refused.value)
    assert "Remedy" in str(refused.value)
    assert len(read(data, **remedy)) == data.count(b"\n") - 1


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"", {}, "is empty .0 bytes"),
        (b"\n\r\n", {}, "holds empty lines alone"),
        (b"a,b\n1,2\n", {"column_names": ("a",)}, "column_names gives 1 names; the header has 2 columns"),
        (b"a,b\n1,2\n", {"encoding": "utf-16"}, "no text of utf-16.*Remedy: say the encoding"),
        (b"ab\0,c\n1,2\n", {}, "holds zero bytes"),
    ],
)
def test_what_is_refused_besides(data: bytes, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ReadError, match=message):
        read(data, **options)


def test_records_that_are_no_rows_raise_or_go_aside(tmp_path: Path) -> None:
    """Ragged ones, those of another encoding, a file's beginning in the middle, and zeros of a full disk."""
    lines = [b"id,t", b"0,a", b"1", b"2,b,c", b"3,\xfc", b"4,d", b"\xef\xbb\xbfid,t", b"\0\0\0", b'7,"e\nf"', b"8,g"]
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines))
    with pytest.raises(ReadError, match=r"a\.csv: row 1 is not a CSV record.*expected 2 cells, found 1.*quarantine"):
        batches(tmp_path)
    found = batches(tmp_path, on_bad_row="quarantine")
    assert [row for batch in found for row in batch.inputs.to_pylist()] == [
        {"id": 0, "t": "a"}, {"id": 4, "t": "d"}, {"id": 7, "t": "e\nf"}, {"id": 8, "t": "g"}
    ]  # fmt: skip
    rejected = pa.concat_tables([batch.rejected.to_table() for batch in found if batch.rejected is not None])
    assert rejected["row"].to_pylist() == [1, 2, 3, 5, 6]
    reasons = rejected["reason"].to_pylist()
    for reason, part in zip(reasons, ["found 1", "found 3", "no UTF-8", "byte order mark", "zero bytes"], strict=True):
        assert part in reason
    assert rejected["raw"].to_pylist()[0] == "1"


def test_a_column_of_zero_bytes_alone_is_no_column_of_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"t\nx\n" + bytes(4096))
    with pytest.raises(ReadError, match=r"row 1 is not a CSV record.*zero bytes alone"):
        batches(tmp_path)


def test_cells_of_many_megabytes_are_read(tmp_path: Path) -> None:
    long = b"x" * (11 << 20)
    (tmp_path / "a.csv").write_bytes(b'a,b\n1,%s\n2,"%s\n"\n3,z\n' % (long, long))
    (batch,) = batches(tmp_path)
    assert [len(row["b"]) for row in batch.inputs.to_pylist()] == [11 << 20, (11 << 20) + 1, 1]


def test_options_say_types_as_well(tmp_path: Path) -> None:
    """Nulls by option leave a column of numbers one; the snapshot of an option reads the same again."""
    (tmp_path / "a.csv").write_bytes("id;t\n1;ü\nNA;b\n".encode("latin-1"))
    (batch,) = batches(tmp_path, separator=";", encoding="latin-1", null_values=["", "NA"])
    assert batch.inputs.to_pylist() == [{"id": 1, "t": "ü"}, {"id": None, "t": "b"}]
