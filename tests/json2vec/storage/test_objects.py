"""`ObjectStore`: a store that adds nothing but single objects keeps the whole contract."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from json2vec.storage import lease
from json2vec.storage.contract import StoreContract
from json2vec.storage.local import LocalStore
from json2vec.storage.objects import ObjectStore
from json2vec.storage.store import Entry, Store


class Bucket(ObjectStore):
    """Objects that lie in a folder; what follows from single objects is left to `ObjectStore`."""

    def __init__(self, root: str) -> None:
        self._disk = LocalStore(root)
        self.root = self._disk.root

    def uri(self, path: str = "") -> str:
        return self._disk.uri(path)

    def below(self, path: str) -> Bucket:
        return Bucket(self.uri(path))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        return self._disk.list(prefix, after=after) if self._disk.exists() else iter(())

    def folders(self, prefix: str = "", *, links: bool = True) -> builtins.list[str]:
        return self._disk.folders(prefix)

    def stat(self, path: str) -> Entry:
        return self._disk.stat(path)

    def open(self, path: str) -> IO[bytes]:
        return self._disk.open(path)

    def read(self, path: str) -> bytes:
        return self._disk.read(path)

    def write(self, path: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        return self._disk.write(path, data, if_absent=if_absent, if_version=if_version)

    def upload(self, local: str | os.PathLike[str], path: str, *, sha256: str) -> None:
        self._disk.upload(local, path, sha256=sha256)

    def copy(self, source: Store, source_path: str, path: str) -> None:
        self._disk.copy(source, source_path, path)

    def delete(self, *paths: str) -> None:
        self._disk.delete(*paths)

    def now(self) -> float:
        return self._disk.now()


class TestObjectStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
        monkeypatch.setattr(lease, "RENEW_S", 0.1)
        monkeypatch.setattr(lease, "POLL_S", 0.02)
        return Bucket(str(tmp_path / "a bucket"))


def test_the_file_that_makes_the_rest_a_whole_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left of an attempt when its removal is interrupted must not look like a complete one."""
    store, gone = Bucket(str(tmp_path)), []
    for name in ("a1/_manifest.json", "a1/0.parquet", "a1/deep/_manifest.json"):
        store.write(name, b"1")
    monkeypatch.setattr(store._disk, "delete", lambda *paths: gone.extend(paths))
    store.set_aside("a1", ".removed-a1", first="_manifest.json")
    assert gone == ["a1/_manifest.json", "a1/0.parquet", "a1/deep/_manifest.json"]
