"""Every format gives its rows with their identity, and one hash for a row in all of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from read_back import folder, identities, read

from json2vec.errors import ReadError
from json2vec.reading.formats import csv, ndjson
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

SUFFIXES = ["parquet", "feather", "orc", "csv", "ndjson", "json"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_gives_its_rows_with_their_identity(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ndjson, csv):
        monkeypatch.setattr(module, "BLOCK_BYTES", 200)
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
