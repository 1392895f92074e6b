"""Parquet a second time: which columns a file has, what DuckDB cannot read, and rows that are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.storage.local import LocalStore
from json2vec.verify.second_readers import parquet
from json2vec.verify.second_readers.nearby import Nearby
from json2vec.verify.second_readers.reader import Options, Rows


def looked(folder: Path, table: pa.Table, rows: list[int], **options: Any) -> tuple[int, Rows]:
    pq.write_table(table, folder / "a.parquet", **options)
    (folder / "links").mkdir(exist_ok=True)
    file = Nearby(LocalStore(folder), folder / "links").file("a.parquet")
    try:
        return parquet.count_parquet(file, Options()), parquet.rows_parquet(file, rows, Options())
    finally:
        file.close()


def test_names_are_those_of_the_file(tmp_path: Path) -> None:
    """DuckDB renames columns that differ in case only, and takes folders for columns."""
    folder = tmp_path / "a=7"
    folder.mkdir()
    table = pa.table({"a": [1, 2], "A": [3, 4], "n.x": [5, 6], "s": [{"a": 1, "l": [{"z": 2}]}, None], "'\"": [7, 8]})
    count, found = looked(folder, table, [1])
    assert (count, found.unread) == (2, {})
    assert found.values == {1: {"a": 2, "A": 4, "n.x": 6, "s": None, "'\"": 8}}


def test_a_file_of_lists_alone_is_counted(tmp_path: Path) -> None:
    table = pa.table({"l": [[1, 2], [], None, [3]], "s": [{"x": [1]}] * 4})
    count, found = looked(tmp_path, table, [0, 1, 2], row_group_size=2)
    assert count == 4
    assert [found.values[row]["l"] for row in (0, 1, 2)] == [[1, 2], [], None]


def test_a_flat_leaf_of_a_struct_is_not_taken_for_a_column(tmp_path: Path) -> None:
    """Its list above makes more values of it than there are rows."""
    table = pa.table({"l": [[{"x": 1}, {"x": 2}], [{"x": 3}]], "x": [1, 2]})
    assert looked(tmp_path, table, [0])[0] == 2
    assert looked(tmp_path, table.select(["l"]), [0])[0] == 2


def test_rows_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    assert set(looked(tmp_path, pa.table({"a": [1, 2]}), [1, 2])[1].values) == {1}
    assert looked(tmp_path, pa.table({"a": pa.array([], pa.int64())}), [0]) == (0, Rows({}))
