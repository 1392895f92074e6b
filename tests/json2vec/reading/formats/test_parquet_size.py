"""A small Parquet file may decode to gigabytes: pieces are bounded in bytes, rows that are too large are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from json2vec.errors import ReadError
from json2vec.reading import readers
from json2vec.reading.formats import parquet_size
from json2vec.reading.formats.parquet import _read_parquet
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.opening import open_store

BIG = "x" * 200_000
ROWS = 400  # 80 MB as plain texts


def dictionary(path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(ROWS, np.int32)), pa.array([BIG]))
    pq.write_table(pa.table({"id": range(ROWS), "s": texts}), path, store_schema=False)


def nested_dictionary(path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(ROWS, np.int32)), pa.array([BIG])).cast(pa.string())
    lists = pa.ListArray.from_arrays(pa.array(np.arange(ROWS + 1, dtype=np.int32)), texts)
    structs = pa.StructArray.from_arrays([lists], ["inner"])
    pq.write_table(pa.table({"id": range(ROWS), "s": structs}), path, store_schema=False)


def plain(path: Path) -> None:
    table = pa.table({"id": range(ROWS), "s": [BIG] * ROWS})
    pq.write_table(table, path, use_dictionary=False, compression="zstd")


def common_prefix(path: Path) -> None:
    table = pa.table({"id": range(ROWS), "s": [BIG] * ROWS})
    pq.write_table(table, path, use_dictionary=False, compression="zstd",
                   column_encoding={"s": "DELTA_BYTE_ARRAY", "id": "PLAIN"})  # fmt: skip


def long_lists(path: Path) -> None:
    flat = np.zeros(ROWS * 25_000, np.int64)
    lists = pa.ListArray.from_arrays(pa.array(np.arange(ROWS + 1, dtype=np.int32) * 25_000), pa.array(flat))
    pq.write_table(pa.table({"id": range(ROWS), "s": lists}), path)


KINDS = [dictionary, nested_dictionary, plain, common_prefix, long_lists]


@pytest.mark.parametrize("write", KINDS)
def test_pieces_and_batches_are_bounded_in_bytes(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.parquet")
    monkeypatch.setattr(parquet_size, "_UNKNOWN_BYTES", 16 << 20)
    monkeypatch.setattr(readers, "_MAX_BYTES", 16 << 20)
    store = open_store(tmp_path)
    snapshot = snapshot_files(store, "parquet")
    with store.open("a.parquet") as file:
        pieces = [piece.batch.nbytes for piece in _read_parquet(file, "a", 0, ROWS, snapshot.schema)]
    assert sum(pieces) > 79_000_000
    assert max(pieces) <= 20 << 20
    batches = list(read_rows(snapshot, store, ((0, ROWS),), batch_size=65_536))
    assert max(batch.inputs.nbytes for batch in batches) <= 36 << 20
    assert np.concatenate([batch.source.field("row") for batch in batches]).tolist() == list(range(ROWS))
    assert [batch.span[0] for batch in batches[1:]] == [batch.span[1] for batch in batches[:-1]]


def test_a_row_that_is_too_large_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long_lists(tmp_path / "a.parquet")
    monkeypatch.setattr(parquet_size, "MAX_ROW_BYTES", 100_000)
    store = open_store(tmp_path)
    snapshot = snapshot_files(store, "parquet")
    with pytest.raises(ReadError, match=r"a.parquet: row group 0: its 400 rows decode to about 76 MiB; expected at .*"):
        list(read_rows(snapshot, store, ((0, ROWS),), batch_size=8))
    # The remedy: without the column there is nothing that is large.
    narrow = snapshot_files(store, "parquet", input_schema=pa.schema([("id", pa.int64())]))
    assert sum(len(batch) for batch in read_rows(narrow, store, ((0, ROWS),), batch_size=8)) == ROWS


def test_ordinary_files_come_in_large_pieces(tmp_path: Path) -> None:
    labels = pa.array([f"label {i % 50}" for i in range(200_000)])
    pq.write_table(pa.table({"id": range(200_000), "s": labels}), tmp_path / "a.parquet")
    store = open_store(tmp_path)
    snapshot = snapshot_files(store, "parquet")
    with store.open("a.parquet") as file:
        pieces = [len(piece.rows) for piece in _read_parquet(file, "a", 0, 200_000, snapshot.schema)]
    assert pieces == [65_536, 65_536, 65_536, 3392]
