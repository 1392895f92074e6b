"""Files of several schemas: united without loss, or refused with file and row."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pytest
from read_back import read, write

from json2vec.errors import ReadError
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore


def test_schemas_are_united(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table({"x": pa.array([1], pa.int32()), "n": [[{"p": 1}, None]]}))
    write(tmp_path / "b.parquet", pa.table({"n": [[{"q": "s"}], None], "y": [True, None], "x": [1.5, None]}))
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")
    (batch,) = read(made, store)
    assert batch.inputs.to_pylist() == [
        {"x": 1.0, "n": [{"p": 1, "q": None}, None], "y": None},
        {"x": 1.5, "n": [{"p": None, "q": "s"}], "y": True},
        {"x": None, "n": None, "y": None},
    ]
    narrow = snapshot_files(store, "parquet", input_schema=pa.schema([("y", pa.bool_()), ("absent", pa.string())]))
    assert [row for batch in read(narrow, store) for row in batch.inputs.to_pylist()] == [
        {"y": y, "absent": None} for y in (None, True, None)
    ]


def test_a_lossy_cast_names_file_and_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table({"x": [1.5]}))
    write(tmp_path / "b.parquet", pa.table({"x": [1] * 20 + [2**60 + 1] + [2]}))
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")
    with pytest.raises(ReadError, match=r"b\.parquet: row 20: column 'x' holds 1152921504606846977 .*double"):
        read(made, store)
