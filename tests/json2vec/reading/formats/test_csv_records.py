"""Records of CSV: the same as Python's own reader finds, wherever the blocks are cut; a missing quote is an error."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json2vec.errors import ReadError
from json2vec.reading.formats import csv_records
from json2vec.reading.formats.csv_records import cells, records


def cut(text: bytes, size: int, *, quote: int | None = ord('"'), header: bool = False) -> list[bytes]:
    blocks = (text[i : i + size] for i in range(0, len(text), size))
    found = records(blocks, "a.csv", ord(","), quote, header=header)
    return [some.one(i) for some in found for i in range(len(some))]


CELLS = st.text(st.sampled_from('ab",\n\r ü'), max_size=5)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=1, max_size=3), max_size=5), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(),
    st.integers(1, 30),
)  # fmt: skip
def test_what_a_writer_wrote_is_found_again(rows: list[list[str]], end: str, last: bool, size: int) -> None:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator=end).writerows(rows)
    text = file.getvalue() if last else file.getvalue().removesuffix(end)
    found = cut(text.encode(), size)
    assert [next(csv.reader(io.StringIO(record.decode(), newline=""), strict=True)) for record in found] == rows
    for some in records(iter([text.encode()] if text else []), "a", ord(","), ord('"'), header=False):
        wanted = [len(next(csv.reader(io.StringIO(some.one(i).decode(), newline="")))) for i in range(len(some))]
        assert cells(some, ord(","), ord('"')).tolist() == wanted


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from('a",\n\r'), max_size=16), st.integers(1, 17))
def test_any_text_has_the_records_that_a_strict_reader_finds_or_is_refused(text: str, size: int) -> None:
    try:
        wanted = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        with pytest.raises(ReadError, match=r"row \d+.*Remedy"):
            cut(text.encode(), size)
        return
    found = [next(csv.reader(io.StringIO(one.decode(), newline=""), strict=True)) for one in cut(text.encode(), size)]
    assert found == wanted
    made = records(iter([text.encode()] if text else []), "a", ord(","), ord('"'), header=False)
    assert [n for some in made for n in cells(some, ord(","), ord('"')).tolist()] == [len(row) for row in wanted]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'a,b\n1,x\n2,"y\n3,z\n', r"a\.csv: row 1 begins a cell with a quote that is never closed: '2,\"y"),
        (b'a,b\n1,x\n2,"y\n3,"z"\n4,w\n', r"a\.csv: row 1: a quoted cell is closed, but"),
        (b'a,b\n1,x\n\n2,"y" \n', r"a\.csv: row 1: a quoted cell is closed, but"),
        (b'a,"b\n1,2\n', r"a\.csv: the header begins a cell"),
        (b'a,b\n1,"a \\"b\\" c"\n', r"a\.csv: row 0: a quoted cell is closed"),
    ],
)
def test_a_missing_quote_names_the_row_in_which_it_began(text: bytes, message: str, size: int) -> None:
    with pytest.raises(ReadError, match=message):
        cut(text, size, header=True)
    lines = [line for line in text.splitlines() if line]
    assert cut(text, size, quote=None, header=True) == lines  # the remedy


def test_a_long_cell_is_read_and_one_beyond_the_limit_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b'a\n"' + b"x\n" * 6_000_000 + b'"\ny\n'
    found = cut(text, 4 << 20)
    assert [len(record) for record in found] == [1, 12_000_002, 1]
    monkeypatch.setattr("json2vec.reading.formats.blocks.MAX_ROW_BYTES", 1_000_000)
    with pytest.raises(ReadError, match=r"a\.csv: row 0 has more than 1000000 bytes.*close the cell whose quote"):
        cut(text, 1 << 18, header=True)


def test_quotes_inside_unquoted_cells_are_characters() -> None:
    text = b'1,5" pipe\n2,6""7" x\n"a",b"\n'
    for size in range(1, 20):
        assert cut(text, size) == text.splitlines()
    assert csv_records.__doc__ is not None


def test_a_block_of_clean_records_is_looked_at_in_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> np.ndarray:
        raise AssertionError(args)

    monkeypatch.setattr(csv_records, "_one_by_one", never)
    assert cut(b'1,"a ""b"", c"\n"","x\ny"\n', 5) == [b'1,"a ""b"", c"', b'"","x\ny"']
