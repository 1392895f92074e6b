"""Input files for libraries that take nothing but a path: links to local files, bounded copies of others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from json2vec.storage.local import LocalStore
from json2vec.verify.second_readers import parquet
from json2vec.verify.second_readers.nearby import Nearby, NotCompared
from json2vec.verify.second_readers.reader import Options


class FarStore(LocalStore):
    """A store whose files are read over a network."""

    def open(self, path: str) -> Any:
        with super().open(path) as file:
            return io.BytesIO(file.read())

    def local_copy(self, path: str, folder: Any) -> Path:
        raise AssertionError("the whole file was asked for")


def test_a_local_file_is_linked_under_a_harmless_name(tmp_path: Path) -> None:
    (tmp_path / "dt=1").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "dt=1" / "a*[x].csv").write_bytes(b"abc")
    file = Nearby(LocalStore(tmp_path), tmp_path / "links", limit=0).file("dt=1/a*[x].csv")
    assert (file.is_far(), file.size(), file.head(2), file.tail(2)) == (False, 3, b"ab", b"bc")
    place = file.whole()
    assert place.read_bytes() == b"abc"
    assert set(str(place.relative_to(tmp_path))).isdisjoint("*[=")
    file.close()
    assert not place.is_symlink()
    assert (tmp_path / "dt=1" / "a*[x].csv").exists()


def test_what_is_far_is_fetched_within_a_limit(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "a.csv").write_bytes(bytes(range(100)))
    nearby = Nearby(FarStore(tmp_path), tmp_path / "links", limit=30)
    file = nearby.file("a.csv")
    assert file.is_far()
    assert file.parts([(10, 20), (10, 20)]).read_bytes() == bytes(10) + bytes(range(10, 20)) + bytes(80)
    assert nearby.left == 20
    with pytest.raises(NotCompared, match="100 bytes would have to be fetched, 20 may be"):
        file.open()
    file.close()
    assert list((tmp_path / "links").iterdir()) == []


def test_of_a_far_parquet_file_the_footer_and_the_sampled_row_groups_are_fetched(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    noise = np.random.default_rng(1).bytes(8 * 40_000)
    table = pa.table({"id": np.arange(40_000), "x": np.frombuffer(noise, np.int64)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10_000, compression="none")
    nearby = Nearby(FarStore(tmp_path), tmp_path / "links")
    file, before = nearby.file("a.parquet"), nearby.left
    assert parquet.count_parquet(file, Options()) == 40_000
    assert before - nearby.left < 4000
    found = parquet.rows_parquet(file, [25_000, 25_001, 39_999], Options())
    assert {row: values["id"] for row, values in found.values.items()} == {n: n for n in (25_000, 25_001, 39_999)}
    size = (tmp_path / "a.parquet").stat().st_size
    assert size * 0.4 < before - nearby.left < size * 0.6
    file.close()
