"""Lines and JSON objects out of step: named, never silently other rows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapped import snap

from json2vec.errors import ReadError
from json2vec.reading.formats import ndjson
from json2vec.reading.formats.ndjson import count_ndjson, read_ndjson
from json2vec.reading.formats.out_of_step import why_out_of_step
from json2vec.reading.readers import read_rows
from json2vec.storage.local import LocalStore

SCHEMA = pa.schema([("a", pa.int64())])


def read(data: bytes) -> list[int | str]:
    """Values of ``a`` by row, or why the row is none."""
    rows, _ = count_ndjson(io.BytesIO(data), "a.ndjson", False)
    made: dict[int, int | str] = {}
    for piece in read_ndjson(io.BytesIO(data), "a.ndjson", 0, rows, SCHEMA):
        made |= dict(zip(piece.rows.tolist(), piece.batch["a"].to_pylist(), strict=True))
        made |= {bad.row: bad.reason for bad in piece.bad}
    assert sorted(made) == list(range(rows))
    return [made[row] for row in range(rows)]


def read_file(root: Path) -> None:
    made = snap(root, "ndjson", input_schema=SCHEMA)
    list(read_rows(made, LocalStore(root), [(0, made.rows)], batch_size=10))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'[{"a":1},\n{"a":2}]\n', r"an array begins here.*jq -c '\.\[\]'"),
        (b'[{"a":1},{"a":2}]', r"an array begins here"),
        (b'{"a":1},\n{"a":2},\n', "a comma follows"),
        (b'{"a":1}{"a":2}\n', "it holds 2 JSON objects; expected one a line, as jq -c"),
        (b'{"a":1} {"a":2}\n', "it holds 2 JSON objects"),
        (b'{\n"a":1\n}\n', "not closed on its line.*jq -c"),
        (b'{"a":1}{"a":\n2}\n', "not closed on its line"),
        (b'{"a":1}\r{"a":2}\r', r"it holds 2 JSON objects, ended by CR alone.*tr '\\r' '\\n'"),
        (b"null\n", "the line is null"),
        (b"\0\0\0\0\n", r"it begins with"),
        ('{"a":1}\n'.encode("utf-16"), r"a\.ndjson is UTF-16.*iconv -t UTF-8"),
        ('{"a":1}\n'.encode("utf-16-le"), r"a\.ndjson is UTF-16"),
        ('{"a":1}\n'.encode("utf-32"), r"a\.ndjson is UTF-32"),
    ],
)
def test_a_file_that_is_no_ndjson_is_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.ndjson").write_bytes(data)
    with pytest.raises(ReadError, match=message) as refused:
        snap(tmp_path, "ndjson")
    assert "a.ndjson" in str(refused.value)
    with pytest.raises(ReadError, match=message):  # where types are said, it is the row that is refused
        read_file(tmp_path)


def test_good_lines_beside_such_lines_are_rows() -> None:
    found = read(b'{"a":0}\n{"a":1},\n[{"a":2}]\n{"a":3}\n{"a":4}{"a":5}\n}\n{"a":6}')
    assert [value for value in found if isinstance(value, int)] == [0, 3, 6]
    assert len(found) == 7


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_what_lines_may_end_and_begin_with(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "BLOCK_BYTES", size)
    assert read(b'{"a":0}\r\n{"a":1}\n\n  \r\n \t{"a":2} \t\r\n{"a":3}') == [0, 1, 2, 3]
    mark = b"\xef\xbb\xbf"
    assert read(mark + b'{"a":0}\n' + mark + b'{"a":1}\r\n' + mark + b'{"a":2}') == [0, 1, 2]
    for separator in ("\u2028", "\u2029", "\x85", "\ufeff"):
        text = json.dumps({"a": 1, separator: separator}, ensure_ascii=False) + "\n"
        assert read(text.encode() * 2) == [1, 1]


OBJECTS = st.sampled_from(
    ['{"a":1}', '{"a":', "2}", "{", "}", "[", "]", ",", '"x"', "null", " ", "{}", '{"b":{"a":1}}']
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(OBJECTS, max_size=3).map("".join), max_size=5))
def test_a_row_is_a_line_that_python_reads_as_one_object(lines: list[str]) -> None:
    wanted: list[int | None] = []
    for line in (line for line in lines if line.strip()):
        try:
            value = json.loads(line)
            value = value.get("a", 0) if isinstance(value, dict) else None
            wanted.append(value if isinstance(value, int) else None)
        except ValueError:
            wanted.append(None)
    if not any(lines):
        return
    found = read("\n".join(lines).encode() + b"\n")
    assert [None if isinstance(value, str) else value or 0 for value in found] == wanted


def test_rows_without_any_key_are_rows(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(b"{}\n" * 100_000)
    made = snap(tmp_path, "ndjson")
    assert (made.rows, made.schema) == (100_000, pa.schema([]))
    batches = list(read_rows(made, LocalStore(tmp_path), [(0, made.rows)], batch_size=30_000))
    assert [batch.inputs.num_rows for batch in batches] == [30_000, 30_000, 30_000, 10_000]


def test_a_line_of_many_megabytes_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(b'{"a":"%s"}\n{"a":"y"}\n' % (b"x" * 30_000_000))
    made = snap(tmp_path, "ndjson")
    found = list(read_rows(made, LocalStore(tmp_path), [(0, 2)], batch_size=1))
    assert [len(batch.inputs["a"][0].as_py()) for batch in found] == [30_000_000, 1]


def test_a_line_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json2vec.reading.formats.blocks.MAX_ROW_BYTES", 1_000_000)
    monkeypatch.setattr(ndjson, "BLOCK_BYTES", 1 << 18)
    (tmp_path / "a.ndjson").write_bytes(b'{"a":"y"}\n{"a":"%s"}\n' % (b"x" * 2_000_000))
    with pytest.raises(ReadError, match=r"a\.ndjson: the line that begins at byte 10 of the text has more"):
        snap(tmp_path, "ndjson")


def test_reasons_name_what_was_found() -> None:
    assert "'}'" in why_out_of_step(b"}")
    assert "'hello'" in why_out_of_step(b" hello ")
