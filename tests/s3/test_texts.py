"""Compressed texts in a bucket: decompressed as they arrive."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from json2vec.errors import ReadError
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.opening import open_store

pytestmark = pytest.mark.slow


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bz2.compress, lzma.compress])
def test_compressed_texts_are_read_from_a_bucket(s3: Any, pack: Callable[[bytes], bytes]) -> None:
    store = open_store(s3.bucket(f"texts-{pack.__module__.strip('_').replace('_', '-')}"), s3.options())
    text = b"".join(b'{"id": %d, "t": "%d"}\n' % (i, i * 7919) for i in range(60_000))
    store.write("a b/ü.ndjson.gz", pack(text) * 2)
    snapshot = snapshot_files(store, "ndjson")
    assert snapshot.rows == 120_000
    (batch,) = read_rows(snapshot, store, [(59_999, 60_001)], batch_size=10)
    assert [row["id"] for row in batch.inputs.to_pylist()] == [59_999, 0]
    store.write("cut.ndjson", pack(text)[:-5])
    with pytest.raises(ReadError, match=r"s3://texts-.*/cut\.ndjson: its .* stream is cut short or damaged"):
        snapshot_files(store, "ndjson")
