"""CSV a second time: as lines where it can be, by DuckDB or Python's module where it cannot; always the same cells."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from json2vec.storage.local import LocalStore
from json2vec.verify.same_value import MaybeNull
from json2vec.verify.second_readers import csv
from json2vec.verify.second_readers.nearby import Nearby, NotCompared
from json2vec.verify.second_readers.reader import Options

PLAIN = Options()


def looked(folder: Path, data: bytes, rows: list[int], options: Options = PLAIN) -> tuple[int, Any]:
    (folder / "a.csv").write_bytes(data)
    (folder / "links").mkdir(exist_ok=True)
    file = Nearby(LocalStore(folder), folder / "links").file("a.csv")
    try:
        found = csv.rows_csv(file, rows, options)
        count = csv.count_csv(file, options)
        assert found.count in (None, count)
        return count, found.values
    finally:
        file.close()


ROWS = [{"id": "1", "text": "a"}, {"id": None, "text": ""}, {"id": "3", "text": "x,\"y\"\nz"}]
TEXT = b'id,text\n1,a\n,""\n3,"x,""y""\nz"\n'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"id,text\n1,a\n\n,b", [{"id": "1", "text": "a"}, {"id": None, "text": "b"}]),
        (b"\xef\xbb\xbfid,text\r\n\r\n1,a\r\n,b\r\n", [{"id": "1", "text": "a"}, {"id": None, "text": "b"}]),
        (b'id,text\n"1","x,y"\n"",""\n', [{"id": "1", "text": "x,y"}, {"id": "", "text": ""}]),
        (b'id,text\n,"a"\n"a"",""",b\n', [{"id": None, "text": "a"}, {"id": 'a","', "text": "b"}]),
        (TEXT, ROWS),
        (b"id\n1\n\n2\n", [{"id": "1"}, {"id": "2"}]),
    ],
)
def test_cells(tmp_path: Path, data: bytes, expected: list[dict[str, Any]]) -> None:
    count, rows = looked(tmp_path, data, list(range(len(expected))))
    assert (count, [rows[i] for i in range(count)]) == (len(expected), expected)
    last = len(expected) - 1
    assert looked(tmp_path, data, [last]) == (count, {last: expected[-1]})


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress,
                                  lambda data: pa.compress(data, "zstd", asbytes=True)])  # fmt: skip
def test_compressed_files_with_quotes(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """The only reader left does not tell a quoted empty cell from an empty one, and says so."""
    count, rows = looked(tmp_path, pack(TEXT), [1, 2])
    assert (count, rows) == (3, {1: {"id": "", "text": ""}, 2: ROWS[2]})
    assert isinstance(rows[1]["id"], MaybeNull)
    assert isinstance(rows[1]["text"], MaybeNull)
    plain = pack(b"id,text\n1,a\n,b\n") + pack(b"3,c\n")  # several members are one text
    assert looked(tmp_path, plain, [1, 2]) == (3, {1: {"id": None, "text": "b"}, 2: {"id": "3", "text": "c"}})


def test_options(tmp_path: Path) -> None:
    latin = Options(separator=";", encoding="latin-1", null_values=("", "NA"))
    assert looked(tmp_path, "id;text\n1;ä\nNA;\n".encode("latin-1"), [0, 1], latin) == (
        2, {0: {"id": "1", "text": "ä"}, 1: {"id": "NA", "text": ""}}
    )  # fmt: skip
    wide = Options(encoding="utf-16", header=False, column_names=("id", "text"))
    assert looked(tmp_path, "1,ä\n2,b\n".encode("utf-16"), [1], wide) == (2, {1: {"id": "2", "text": "b"}})
    bare = Options(quote=None, header=False, column_names=("id", "text"))
    assert looked(tmp_path, b'1,"a\n2,b"\n', [0], bare) == (2, {0: {"id": "1", "text": '"a'}})


def test_records_of_other_lengths_are_counted(tmp_path: Path) -> None:
    assert looked(tmp_path, b'id,text\n1\n2,b,c\n3,"d\n"\n', [2]) == (3, {2: {"id": "3", "text": "d\n"}})
    with pytest.raises(NotCompared, match="row 0 has 1 cells, the header 2"):
        looked(tmp_path, b"id,text\n1\n2,b\n", [0])


CELLS = st.none() | st.text(st.sampled_from('a",;\n\r ä0'), max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), end=st.sampled_from(["\n", "\r\n"]),
       always=st.booleans())  # fmt: skip
def test_any_cells(tmp_path: Path, table: list[tuple[Any, Any]], end: str, always: bool) -> None:
    """Nulls bare, texts quoted where they have to be, or always; Python 3.11 has no such writer."""
    rows = [(one, other if one is not None else other or "x") for one, other in table]
    text = io.StringIO()
    for record in [("id", "text"), *rows]:
        cells = []
        for cell in record:
            special = cell is not None and (always or cell == "" or any(c in cell for c in '",\n\r'))
            cells.append("" if cell is None else '"' + cell.replace('"', '""') + '"' if special else cell)
        text.write(",".join(cells) + end)
    count, found = looked(tmp_path, text.getvalue().encode(), list(range(len(rows))))
    assert count == len(rows)
    for row, (one, other) in enumerate(rows):
        for column, cell in (("id", one), ("text", other)):
            value = found[row][column]
            assert value == cell or (isinstance(value, MaybeNull) and (cell or "") == value), (row, column, value, cell)
