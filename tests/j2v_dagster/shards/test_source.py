"""The shards of a partition: another listing is another version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from j2v_dagster.shards.source import ShardSource, list_folders
from json2vec.storage.local import LocalStore
from json2vec.storage.store import Entry


def test_old_content_put_back_is_a_new_version(tmp_path: Path) -> None:
    """An object store gives equal content its old ETag back; the table would keep what came between."""
    source = ShardSource(inputs=str(tmp_path))
    entries = [Entry("dt=a/a.parquet", 4, etag, modified) for etag, modified in (("x", 1.0), ("y", 2.0), ("x", 3.0))]

    class Bucket(LocalStore):
        def __init__(self, entry: Entry) -> None:
            super().__init__(tmp_path)
            self.entry = entry

        def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
            yield self.entry

    first, between, back = (next(iter(list_folders(source, Bucket(entry)))) for entry in entries)
    assert first.digest == back.digest != between.digest
    assert len({first.version, between.version, back.version}) == 3


def test_the_listing_digest_is_the_snapshots(tmp_path: Path) -> None:
    for name in ("b.parquet", "ä.parquet", "a/x.parquet", "_hidden.parquet", "c.txt"):
        path = tmp_path / "dt=a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"x": [1]}).write_parquet(path)
    source = ShardSource(inputs=str(tmp_path))
    (folder,) = list_folders(source, LocalStore(tmp_path))
    assert folder.digest == source.snapshot("a").listing_digest
    assert (folder.shards, folder.keys) == (3, 5)
