"""The shards of one partition: their listing, their stability, and the snapshot that a prediction is made of."""

from __future__ import annotations

import json
import posixpath
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import Any

from j2v_dagster.partitions import partition_folder
from json2vec.data.formats import ends_with
from json2vec.data.snapshot import Snapshot, snapshot_files
from json2vec.enums import Suffix
from json2vec.errors import ReadError
from json2vec.stores import Entry, Store, open_store

INPUTS_FILE = "_inputs.json"
"""Beside a partition's attempts: the snapshot that `input_shards` froze last."""


@dataclass(frozen=True)
class ShardSource:
    """Where a pipeline's shards lie.

    Attributes:
        inputs: root of all partitions: a local path or a URI.
        suffix: file format, one of `json2vec.enums.Suffix`.
        folder: template of a partition's folder, such as ``dt={partition}``.
        storage_options: options of the object store's client; never secrets.
    """

    inputs: str
    suffix: str = "parquet"
    folder: str = "dt={partition}"
    storage_options: dict[str, Any] | None = None

    def uri(self, partition: str) -> str:
        return posixpath.join(self.inputs, partition_folder(partition, self.folder))

    def store(self, partition: str) -> Store:
        return open_store(self.uri(partition), self.storage_options)

    def is_shard(self, path: str) -> bool:
        """Whether ``path``, relative to the partition's folder, is data: the rule of `json2vec.data.snapshot`."""
        hidden = path[0] in "._" or "/." in path or "/_" in path or path.endswith(".tmp")
        return not hidden and ends_with(path, Suffix(self.suffix))

    def snapshot(self, partition: str) -> Snapshot:
        """Freeze the partition's files with their rows.

        Raises:
            json2vec.errors.ReadError: no shard, an unreadable one, or shards whose schemas clash; names it.
        """
        return snapshot_files(self.store(partition), Suffix(self.suffix), storage_options=self.storage_options)


@dataclass(frozen=True)
class Folder:
    """One listed folder of shards: its name, its entries and the names of files that are not shards."""

    name: str
    shards: tuple[Entry, ...]
    others: frozenset[str]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over path, size and version of every shard: changes when any of them is added or rewritten."""
        lines = "\n".join(json.dumps([entry.path, entry.size, entry.version]) for entry in self.shards)
        return sha256(lines.encode()).hexdigest()

    def is_stable(self, *, min_age_s: float, marker: str | None, now: float | None = None) -> bool:
        """Whether its writer is done: ``marker`` lies in it, or, without a marker, no shard is younger than
        ``min_age_s`` seconds."""
        if marker is not None:
            return marker in self.others
        newest = max((entry.modified for entry in self.shards), default=0.0)
        return (time.time() if now is None else now) - newest >= min_age_s


def list_folders(source: ShardSource, store: Store, *, prefix: str = "") -> Iterator[Folder]:
    """The partition folders of ``store``, one at a time, sorted by name; entries' paths are relative to the folder.

    Holds one folder's entries in memory, however many files there are.
    """
    depth = source.folder.count("/") + 1

    def folder_of(entry: Entry) -> str:
        return "/".join(entry.path.split("/")[:depth])

    for name, entries in groupby(store.list(prefix), key=folder_of):
        inside = [(entry, entry.path[len(name) + 1 :]) for entry in entries if len(entry.path) > len(name)]
        shards = tuple(
            Entry(path, entry.size, entry.version, entry.modified) for entry, path in inside if source.is_shard(path)
        )
        others = frozenset(path for _, path in inside if not source.is_shard(path))
        if shards or others:
            yield Folder(name, shards, others)


def write_inputs(store: Store, snapshot: Snapshot) -> None:
    """Freeze ``snapshot`` beside the partition's attempts."""
    store.write(INPUTS_FILE, json.dumps(snapshot.to_json()).encode())


def read_inputs(store: Store, *, partition: str, asset: str) -> Snapshot:
    """The snapshot that was frozen last.

    Raises:
        json2vec.errors.ReadError: there is none; names the asset to materialize.
    """
    try:
        text = store.read(INPUTS_FILE)
    except FileNotFoundError as exc:
        raise ReadError(
            f"partition {partition!r} has no snapshot at {store.uri(INPUTS_FILE)}. "
            f"Remedy: materialize {asset} of this partition first"
        ) from exc
    return Snapshot.from_json(json.loads(text))


def shard_rows(snapshot: Snapshot, limit: int = 100) -> Sequence[dict[str, Any]]:
    """Up to ``limit`` shards as plain rows for a table in the UI."""
    return snapshot.files.select(["path", "rows", "size", "version"]).slice(0, limit).to_pylist()
