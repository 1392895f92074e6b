"""Rows come out exactly once, in order, as they were, with their identity, or the error names them."""

from __future__ import annotations

import itertools
import json
import os
import tracemalloc
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from read_back import folder, identities, read

from json2vec.errors import ReadError, SnapshotChanged
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import frame_table, snapshot_files, snapshot_frame
from json2vec.storage.local import LocalStore


@pytest.fixture(scope="module")
def five_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    root = tmp_path_factory.mktemp("five")
    return root, folder(root, "parquet", [9, 0, 1, 20, 3])


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_ranges_are_read_once_and_spans_tile_them(five_files: tuple[Path, list], data: st.DataObject) -> None:
    root, expected = five_files
    store = LocalStore(root)
    made = snapshot_files(store, "parquet")
    bounds = sorted(data.draw(st.sets(st.integers(0, made.rows), max_size=8)))
    ranges = list(zip(bounds[::2], bounds[1::2], strict=False))
    size = data.draw(st.integers(1, 12))
    batches = list(read_rows(made, store, ranges, batch_size=size))
    assert identities(batches) == [row for start, stop in ranges for row in expected[start:stop]]
    spans = [number for batch in batches for number in range(*batch.span)]
    assert spans == [number for start, stop in ranges for number in range(start, stop)]
    for batch, after in itertools.pairwise(batches):
        assert len(batch) == size or batch.span[1] < after.span[0]


def test_changed_files_are_noticed(tmp_path: Path) -> None:
    folder(tmp_path, "ndjson", [30, 30])
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "ndjson")
    second = sorted(tmp_path.iterdir())[1]
    stream = read_rows(made, store, [(0, 60)], batch_size=4)
    next(stream)
    lines = second.read_text().splitlines()
    second.write_text("\n".join(lines[:-10]))
    with pytest.raises(SnapshotChanged, match="part#1"):
        list(stream)
    with pytest.raises(ReadError, match=r"rows 0 to 29 were planned, but only 25"):
        list(read_rows(made, store, [(0, 60)], batch_size=4, check=False))
    second.unlink()
    with pytest.raises(SnapshotChanged, match="is gone"):
        read(made, store)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    folder(tmp_path, "parquet", [100])
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")
    stream = read_rows(made, store, [(0, 100)], batch_size=4)
    next(stream)
    os.utime(next(tmp_path.iterdir()), ns=(1, 1))
    with pytest.raises(SnapshotChanged, match="changed since the plan"):
        list(stream)


def test_frames() -> None:
    frame = pl.DataFrame({"id": range(10), "l": [[i] for i in range(10)]}, schema_overrides={"id": pl.Int32})
    made = snapshot_frame(frame)
    expected = [("frame:predict", i, {"id": i, "l": [i]}) for i in range(10)]
    for source in (frame, frame.lazy(), frame_table(frame)):
        assert identities(read(made, source)) == expected
        assert identities(read(made, source, [(2, 5)])) == expected[2:5]
    with pytest.raises(SnapshotChanged, match="has 9 rows"):
        read(made, frame[:9])


def test_big_files_are_streamed(tmp_path: Path) -> None:
    line = json.dumps({"t": "x" * 1000}) + "\n"
    (tmp_path / "a.ndjson").write_text(line * 60_000)
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "ndjson")
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    peak = 0
    for batch in read_rows(made, store, [(0, made.rows)], batch_size=1000):
        peak = max(peak, pa.total_allocated_bytes() - before + tracemalloc.get_traced_memory()[0])
        del batch
    tracemalloc.stop()
    assert peak < 35_000_000  # of 60 MB


def test_options_that_cannot_be_meant(tmp_path: Path) -> None:
    folder(tmp_path, "parquet", [3])
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")
    with pytest.raises(ReadError, match="on_bad_row must be"):
        read(made, store, on_bad_row="skip")
    with pytest.raises(ReadError, match="batch_size must be"):
        read(made, store, batch_size=0)
