"""NDJSON a second time: which lines are rows, and numbers that are not rounded."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from json2vec.storage.local import LocalStore
from json2vec.verify.second_readers import lines, ndjson
from json2vec.verify.second_readers.nearby import Nearby
from json2vec.verify.second_readers.reader import Options, Rows


def looked(folder: Path, data: bytes, rows: list[int]) -> tuple[int, Rows]:
    (folder / "a.ndjson").write_bytes(data)
    (folder / "links").mkdir(exist_ok=True)
    file = Nearby(LocalStore(folder), folder / "links").file("a.ndjson")
    try:
        found = ndjson.rows_ndjson(file, rows, Options())
        assert found.count == ndjson.count_ndjson(file, Options())
        return found.count, found
    finally:
        file.close()


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lines_that_are_not_blank_are_rows(
    tmp_path: Path, block: int, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_BLOCK_BYTES", block)
    data = b'{"a": 1}\r\n\n  \t\n {"a": 2}\n\r\n{"a": 3}'
    count, found = looked(tmp_path, pack(data), [0, 1, 2])
    assert count == 3
    assert found.values == {0: {"a": 1}, 1: {"a": 2}, 2: {"a": 3}}
    assert looked(tmp_path, pack(data + b"\n\n"), [2])[1].values == {2: {"a": 3}}


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert looked(tmp_path, b'\xef\xbb\xbf{"a": 1}\n', [0])[1].values == {0: {"a": 1}}


def test_numbers_are_not_rounded(tmp_path: Path) -> None:
    found = looked(tmp_path, b'{"a": 9007199254740993, "b": 0.1, "c": -0.0}\n', [0])[1].values[0]
    assert found == {"a": 9007199254740993, "b": Decimal("0.1"), "c": 0.0}
    assert str(found["c"]) == "-0.0"


def test_what_is_no_object_or_says_a_key_twice_is_not_compared(tmp_path: Path) -> None:
    count, found = looked(tmp_path, b'{"a": 1, "a": 2}\n{"a": \n{"a": {"b": 1, "b": 1}}\n{"a": 4}\n', [0, 1, 2, 3])
    assert count == 4
    assert found.values == {3: {"a": 4}}
    assert set(found.unread) == {"row 0", "row 1", "row 2"}
    assert "twice" in found.unread["row 0"]
