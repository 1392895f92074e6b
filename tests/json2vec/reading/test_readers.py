"""Rows come out exactly once, in order, as they were, with their identity, or the error names them."""

from __future__ import annotations

import itertools
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json2vec.errors import ProcessorError, ReadError, SnapshotChanged
from json2vec.processors import Preprocessor
from json2vec.reading import text
from json2vec.reading.readers import read_rows
from json2vec.reading.row_batch import RowBatch
from json2vec.reading.row_hash import row_hash
from json2vec.reading.snapshot import Snapshot, frame_table, snapshot_files, snapshot_frame
from json2vec.storage.local import LocalStore

SUFFIXES = ["parquet", "feather", "orc", "csv", "ndjson", "json"]


def write(path: Path, table: pa.Table) -> None:
    suffix = path.suffix[1:]
    if suffix == "parquet":
        pq.write_table(table, path, row_group_size=7)
    elif suffix == "feather":
        pyarrow.feather.write_feather(table, str(path), chunksize=5)
    elif suffix == "orc":
        pyarrow.orc.write_table(table, str(path), stripe_size=1)
    elif suffix == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        path.write_text("\n\n".join(json.dumps(row) for row in table.to_pylist()) + "\n")


def folder(root: Path, suffix: str, counts: list[int]) -> list[dict[str, Any]]:
    """Files of so many rows; returns what their rows are, in the order of the plan."""
    rows = []
    for file, count in enumerate(counts):
        mine = [{"id": file * 1000 + i, "t": f"ü{i}" if i % 3 else None, "f": i / 4} for i in range(count)]
        schema = pa.schema([("id", pa.int64()), ("t", pa.string()), ("f", pa.float64())])
        write(root / f"part#{file} ?.{suffix}", pa.Table.from_pylist(mine, schema))
        rows += [(f"part#{file} ?.{suffix}", i, row) for i, row in enumerate(mine)]
    return rows


def read(made: Snapshot, source: Any, ranges: Any = None, **options: Any) -> list[RowBatch]:
    return list(read_rows(made, source, ranges or [(0, made.rows)], **({"batch_size": 4} | options)))


def identities(batches: list[RowBatch]) -> list[tuple]:
    found = []
    for batch in batches:
        assert batch.inputs.num_rows == batch.observations.num_rows == len(batch.source) == len(batch)
        assert batch.source.field("hash").to_numpy().tolist() == row_hash(batch.inputs).tolist()
        found += [
            (source["file"], source["row"], row)
            for source, row in zip(batch.source.to_pylist(), batch.inputs.to_pylist(), strict=True)
        ]
    return found


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_gives_its_rows_with_their_identity(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 200)
    expected = folder(tmp_path, suffix, [23, 1, 12] if suffix == "csv" else [23, 0 if suffix[-4:] != "json" else 1, 12])
    store = LocalStore(tmp_path)
    made = snapshot_files(store, suffix)
    assert made.rows == len(expected)
    for size in (1, 4, 100):
        batches = read(made, store, batch_size=size)
        assert identities(batches) == expected
        assert {len(batch) for batch in batches[:-1]} <= {size}
        assert [batch.inputs.schema.equals(made.schema) for batch in batches] == [True] * len(batches)
    for start, stop in [(0, 1), (5, 8), (6, 7), (22, 25), (20, len(expected)), (30, 31)]:
        assert identities(read(made, store, [(start, stop)])) == expected[start:stop]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_hashes_do_not_depend_on_the_format(tmp_path: Path, suffix: str) -> None:
    folder(tmp_path, suffix, [9])
    folder(tmp_path, "feather", [9])
    store = LocalStore(tmp_path)
    hashes = []
    for one in (suffix, "feather"):
        made = snapshot_files(store, one)
        hashes.append([h for batch in read(made, store) for h in batch.source.field("hash").to_pylist()])
    assert hashes[0] == hashes[1]


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


def test_corrupt_bodies_are_named(tmp_path: Path) -> None:
    folder(tmp_path, "parquet", [200])
    path = next(tmp_path.iterdir())
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")
    data = bytearray(path.read_bytes())
    data[30:60] = bytes(30)
    status = os.stat(path)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    with pytest.raises(ReadError, match=r"part#0 \?\.parquet: cannot be read as Parquet.*Remedy"):
        read(made, store)


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


def parts(batch: RowBatch) -> list[tuple]:
    keys = ("row", "part", "parts")
    rows = zip(batch.source.to_pylist(), batch.inputs.to_pylist(), batch.observations.to_pylist(), strict=True)
    return [(*(source[key] for key in keys), row["id"], made) for source, row, made in rows]


@pytest.mark.parametrize("columnar", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_preprocessors_drop_and_multiply(tmp_path: Path, columnar: bool, size: int) -> None:
    """Row i gives i % 4 rows."""
    folder(tmp_path, "parquet", [20, 10])

    def by_row(row: dict) -> list[dict]:
        return [{"o": row["id"] * 10 + k} for k in range(row["id"] % 4)]

    def by_column(batch: pa.RecordBatch) -> pl.DataFrame:
        frame = pl.DataFrame({"__row__": range(batch.num_rows), "id": batch["id"].to_pylist()})
        frame = frame.with_columns(k=pl.int_ranges(0, pl.col("id") % 4)).explode("k").drop_nulls()
        return frame.select("__row__", o=pl.col("id") * 10 + pl.col("k"))

    function = Preprocessor(by_column, columnar=True) if columnar else Preprocessor(by_row, yields=True)
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")
    ids = [*range(20), *range(1000, 1010)]
    batches = read(made, store, preprocessor=function, batch_size=size)
    found = [row for batch in batches for row in parts(batch)]
    assert found == [(i % 1000, k, i % 4, i, {"o": i * 10 + k}) for i in ids for k in range(i % 4)]
    assert [number for batch in batches for number in range(*batch.span)] == list(range(30))
    rejected = pa.concat_tables([batch.rejected.to_table() for batch in batches if batch.rejected is not None])
    assert rejected["row"].to_pylist() == [i % 1000 for i in ids if i % 4 == 0]
    assert set(rejected["reason"].to_pylist()) == {"dropped"}
    for batch in batches:  # the rows made of one input row are never cut apart
        assert len(batch) <= max(size, 3)
        kept = [int(i) for i in ids[slice(*batch.span)] if i % 4]
        assert [row[3] for row in parts(batch) if row[1] == 0] == kept
        gone = [] if batch.rejected is None else batch.rejected.row.to_pylist()
        assert gone == [i % 1000 for i in ids[slice(*batch.span)] if i % 4 == 0]


def test_all_rows_dropped(tmp_path: Path) -> None:
    folder(tmp_path, "parquet", [5])
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")
    (batch,) = read(made, store, preprocessor=Preprocessor(lambda row: None))
    assert (len(batch), batch.span, len(batch.rejected or [])) == (0, (0, 5), 5)
    assert batch.inputs.schema.equals(made.schema)


def test_preprocessor_errors_name_file_and_row(tmp_path: Path) -> None:
    folder(tmp_path, "parquet", [3, 5])
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")

    def fails(row: dict) -> dict:
        return {"o": 1 // (row["id"] - 1002)}

    with pytest.raises(ProcessorError, match=r"part#1 \?\.parquet: row 2: preprocessor .* ZeroDivisionError"):
        read(made, store, preprocessor=Preprocessor(fails))


def test_poison_records(tmp_path: Path) -> None:
    """What the format can hold comes out as it went in."""
    deep: Any = 1
    for _ in range(50):
        deep = [deep]
    rows = [{"big": 2**70, "text": "x" * 9_000_000, "deep": deep}, {"big": -1.5, "text": None, "deep": None}, {}]
    (tmp_path / "a.ndjson").write_text("\n".join(json.dumps(row) for row in rows))
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "ndjson")
    (batch,) = read(made, store)
    first = batch.inputs.to_pylist()[0]
    assert (first["big"], len(first["text"]), first["deep"]) == (float(2**70), 9_000_000, deep)


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


def test_avro(tmp_path: Path) -> None:
    fastavro = pytest.importorskip("fastavro")
    schema = {"type": "record", "name": "r", "fields": [
        {"name": "id", "type": "int"}, {"name": "t", "type": ["null", "string"]}]}  # fmt: skip
    rows = [{"id": i, "t": None if i < 5 else "x"} for i in range(20)]
    with open(tmp_path / "a.avro", "wb") as file:
        fastavro.writer(file, schema, rows, sync_interval=20)
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "avro")
    assert identities(read(made, store, [(3, 18)])) == [("a.avro", i, rows[i]) for i in range(3, 18)]
