"""Stores of other packages: an entry point is all it takes, and what is wrong with one is said."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from json2vec.errors import StoreError
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage import schemes
from json2vec.storage.opening import open_store

Install = Callable[..., None]

# The files lie in the memory of this process: what the protocol asks beyond bytes is taken from a local folder.
MEM_STORE = '''
import dataclasses, io, tempfile
from pathlib import Path
from json2vec.storage.local import LocalStore

FILES = {}

class MemStore(LocalStore):
    """Files by path in ``FILES``; the storage options stay as they came."""

    def __init__(self, root, storage_options=None):
        super().__init__(tempfile.gettempdir())
        self.root, self.options = root.rstrip("/"), storage_options

    def uri(self, path=""):
        return f"{self.root}/{path}" if path else self.root

    def list(self, prefix="", *, after=""):
        for path in sorted(FILES):
            if path.startswith(f"{prefix}/" if prefix else "") and path > after:
                yield self.stat(path)

    def stat(self, path):
        from json2vec.storage.store import Entry
        if path not in FILES:
            raise FileNotFoundError(path)
        return Entry(path, len(FILES[path]), str(hash(FILES[path])), 0.0)

    def open(self, path):
        self.stat(path)
        return io.BytesIO(FILES[path])

    def read(self, path):
        return self.open(path).read()

    def write(self, path, data, *, if_absent=False, if_version=None):
        FILES[path] = bytes(data)
        return self.stat(path).version

    def local_path(self, path=""):
        return None


class Half:
    """A store without most of what a store needs."""

    root = "mem://x"

    def __init__(self, root, storage_options=None): ...

    def uri(self, path): ...
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Packages with entry points, as pip leaves them."""
    (tmp_path / "mem_store.py").write_text(MEM_STORE)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(package: str = "mem-store", **stores: str) -> None:
        folder = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{scheme} = {path}" for scheme, path in stores.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[json2vec.stores]", *lines, ""]))

    schemes._class_of.cache_clear()
    yield make
    schemes._class_of.cache_clear()


def test_an_entry_point_makes_a_scheme_work_like_any_other(install: Install) -> None:
    install(mem="mem_store:MemStore")
    store = open_store("mem://bucket/shards", {"region": "here"})
    assert store.options == {"region": "here"}  # type: ignore[attr-defined]
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": ["a", "b"]}), buffer)
    store.write("dt=d1/0.parquet", buffer.getvalue())
    snapshot = snapshot_files(store, "parquet")
    assert (snapshot.root, snapshot.rows) == ("mem://bucket/shards", 2)
    again = open_store(snapshot.root)
    assert [one.path for one in again.list("dt=d1")] == ["dt=d1/0.parquet"]
    assert type(pickle.loads(pickle.dumps(again))) is type(store)


def test_our_own_schemes_are_not_replaced(install: Install) -> None:
    install(s3="mem_store:MemStore", file="mem_store:MemStore")
    assert type(open_store("s3://bucket/x")).__name__ == "S3Store"
    assert type(open_store("file:///tmp")).__name__ == "LocalStore"


def test_a_scheme_that_nobody_serves_is_refused_with_those_that_are_served(install: Install) -> None:
    install(mem="mem_store:MemStore")
    with pytest.raises(StoreError, match=r"no store serves 'men://x': .*; .*file://, s3://, mem://.*json2vec\.stores"):
        open_store("men://x")


def test_two_packages_for_one_scheme_are_refused(install: Install) -> None:
    install(mem="mem_store:MemStore")
    install("other", mem="mem_store:Half")
    with pytest.raises(StoreError, match="several packages serve mem://: mem_store:Half, mem_store:MemStore"):
        open_store("mem://x")


def test_a_class_that_is_no_store_is_refused_with_what_is_missing(install: Install) -> None:
    install(mem="mem_store:Half")
    with pytest.raises(StoreError, match=r"mem_store:Half cannot serve 'mem://x': .*it has no method list") as caught:
        open_store("mem://x")
    assert "uri cannot be called" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("mem_stor:MemStore", "there is no module 'mem_stor' here"),
        ("mem_store:MemStor", r"has no 'MemStor' \(did you mean 'MemStore'\?\)"),
        ("mem_store:FILES", "'FILES' of module 'mem_store' is a dict; expected a class"),
    ],
)
def test_an_entry_point_that_leads_nowhere_says_why(install: Install, path: str, message: str) -> None:
    install(mem=path)
    with pytest.raises(StoreError, match=message):
        open_store("mem://x")
