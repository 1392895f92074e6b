"""One tick without Dagster: its cursor stays small, and no group is looked at twice."""

from __future__ import annotations

from pathlib import Path

from shard_files import put

from j2v_dagster.shards.scanning import Cursor, ScanOptions, scan
from j2v_dagster.shards.source import Folder, ShardSource
from json2vec.storage.local import LocalStore


def test_the_cursor_stays_small_and_no_group_is_looked_at_twice(tmp_path: Path) -> None:
    source, cursor, lookups = ShardSource(str(tmp_path)), Cursor(), []
    for number in range(3000):
        put(tmp_path, f"dt={number:05}/x.parquet")

    def handled(key: str, folder: Folder) -> bool:
        lookups.append(key)
        return True

    def round_of_ticks() -> int:
        nonlocal cursor
        lookups.clear()
        done = False
        while not done:
            found = scan(source, LocalStore(tmp_path), cursor, key_of=lambda name: name[3:], handled=handled,
                         options=ScanOptions(max_keys=1000, max_lookups=500))  # fmt: skip
            assert found.keys <= 1000 + 256
            assert not found.requests
            cursor, done = Cursor.parse(cursor.dumps()), found.round_done
            assert len(cursor.dumps()) < 6000
        return len(lookups)

    assert round_of_ticks() == 3000
    assert round_of_ticks() == 0
    put(tmp_path, "dt=01500/x.parquet", age_s=500)
    assert 1 <= round_of_ticks() <= 257, "only its neighbours"
    assert "01500" in lookups
    assert round_of_ticks() == 0
