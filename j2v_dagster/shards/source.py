"""The shards of one partition: their listing, their stability, and the snapshot that a prediction is made of."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from j2v_dagster.shards.partitions import fixed_part, partition_folder
from json2vec.enums import Suffix
from json2vec.errors import ReadError
from json2vec.reading.formats import ends_with
from json2vec.reading.lake_tables import LakeTables
from json2vec.reading.options import DEFAULT, ReadOptions
from json2vec.reading.snapshot import Snapshot, listing_digest, snapshot_files
from json2vec.storage.opening import open_store
from json2vec.storage.store import Entry, Store

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
        read_options: how the files are read where they do not say it themselves.
        lake_tables: ``refuse`` or ``files``; see `json2vec.reading.lake_tables`.
    """

    inputs: str
    suffix: str = "parquet"
    folder: str = "dt={partition}"
    storage_options: dict[str, Any] | None = None
    read_options: ReadOptions = DEFAULT
    lake_tables: LakeTables = "refuse"

    @property
    def above(self) -> str:
        """The folders that the template has in front of every partition's own: nothing else needs to be listed."""
        return fixed_part(self.folder)

    def uri(self, partition: str) -> str:
        return posixpath.join(self.inputs, partition_folder(partition, self.folder))

    @cached_property
    def root(self) -> Store:
        """The folder of all partitions."""
        return open_store(self.inputs, self.storage_options)

    def store(self, partition: str) -> Store:
        """The folder of one partition."""
        return self.root.below(partition_folder(partition, self.folder))

    def is_shard(self, path: str) -> bool:
        """Whether ``path``, relative to the partition's folder, is data: the rule of `json2vec.reading.snapshot`."""
        hidden = path[0] in "._" or "/." in path or "/_" in path or path.endswith(".tmp")
        return not hidden and ends_with(path, Suffix(self.suffix))

    def snapshot(self, partition: str) -> Snapshot:
        """Freeze the partition's files with their rows.

        Raises:
            json2vec.errors.ReadError: no shard, an unreadable one, shards whose schemas clash, or the folder of a
            Delta, Iceberg or Hudi table; names it.
        """
        return snapshot_files(
            self.store(partition), Suffix(self.suffix), options=self.read_options, lake_tables=self.lake_tables
        )


@dataclass(frozen=True)
class Folder:
    """What a listing says of one folder of shards.

    Attributes:
        name: relative to the root of all partitions.
        keys: files in it, whether shards or not.
        shards: files in it that are data; the folder counts only if there are some.
        digest: `Snapshot.listing_digest` of a snapshot made now: path, size and version of every shard.
        version: SHA-256 (hex) over the same and each shard's time: differs even where old content was put back.
        newest: time of the newest shard, in seconds since 1970-01-01 UTC by the store's clock.
        marked: time of the marker file; None where there is none, or none was asked for.
    """

    name: str
    keys: int = 0
    shards: int = 0
    digest: str = ""
    version: str = ""
    newest: float = 0.0
    marked: float | None = None

    def is_stable(self, *, min_age_s: float, marker: str | None, now: float) -> bool:
        """Whether its writer is done. ``now`` is by the store's clock (`Store.now`), as the shards' times are.

        Without a ``marker``: no shard is younger than ``min_age_s`` seconds. With one, it must be there; if a shard is
        newer than the marker, somebody came back after the job was done, and the age counts as well.
        """
        if marker is not None and (self.marked is None or self.marked >= self.newest):
            return self.marked is not None
        return now - self.newest >= min_age_s


def list_folders(
    source: ShardSource, store: Store, *, prefix: str | None = None, after: str = "", marker: str | None = None
) -> Iterator[Folder]:
    """The folders of ``store``, one at a time, in the order of their paths, which is that of ``name + "/"``.

    A file that lies too high to be in a partition's folder comes as a folder without shards. Holds one folder's entries
    in memory, however many files there are.

    Args:
        store: of ``source.inputs``.
        prefix: list only below this folder; default: the folders above all partitions.
        after: name of the folder to go on behind; that folder itself is left out.
        marker: name of the marker file to look for.
    """
    depth = source.folder.count("/") + 1
    prefix = source.above if prefix is None else prefix

    def folder_of(entry: Entry) -> str:
        return "/".join(entry.path.split("/")[:depth])

    # "0" is what follows "/": past everything in the folder.
    entries = store.list(prefix, after=f"{after}0" if after else "")
    for name, group in groupby(entries, key=folder_of):
        yield _folder(source, name, list(group), marker)


def _folder(source: ShardSource, name: str, entries: list[Entry], marker: str | None) -> Folder:
    below = len(name) + 1
    shards = [entry for entry in entries if len(entry.path) > below and source.is_shard(entry.path[below:])]
    marked = [entry.modified for entry in entries if marker is not None and entry.path[below:] == marker]
    if not shards:
        return Folder(name, len(entries))
    paths = [shard.path[below:] for shard in shards]
    table = pa.table(
        {"path": paths, "size": [shard.size for shard in shards], "version": [shard.version for shard in shards]},
        schema=pa.schema([("path", pa.string()), ("size", pa.int64()), ("version", pa.string())]),
    )
    digest = listing_digest(Suffix(source.suffix), table)
    times = np.array([shard.modified for shard in shards], "<f8")
    version = sha256(digest.encode() + times.tobytes()).hexdigest()
    return Folder(name, len(entries), len(shards), digest, version, float(times.max()), max(marked, default=None))


def inputs_version(store: Store) -> str | None:
    """The version of the snapshot that was frozen last, for `write_inputs`; None where there is none."""
    try:
        return store.stat(INPUTS_FILE).version
    except FileNotFoundError:
        return None


def write_inputs(store: Store, snapshot: Snapshot, *, over: str | None = "") -> bool:
    """Freeze ``snapshot`` beside the partition's attempts.

    Args:
        store: the partition's output folder.
        snapshot: the list of shards.
        over: the version that it replaces, None where nothing was frozen before; the empty text replaces any.

    Returns:
        False, with nothing written, where another version is there.
    """
    data = json.dumps(snapshot.to_json()).encode()
    try:
        store.write(INPUTS_FILE, data, if_absent=over is None, if_version=over or None)
    except FileExistsError:
        return False
    return True


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


def shown_listing(store: Store) -> str | None:
    """The listing digest of the snapshot that was frozen last, if the attempt that the table shows was made of it; None
    also where a document is damaged, since the run that is asked for then says so.

    Args:
        store: of the partition's output folder.
    """
    try:
        frozen = Snapshot.from_json(json.loads(store.read(INPUTS_FILE)))
        attempt = json.loads(store.read("_current.json"))["attempt"]
        manifest = json.loads(store.read(f"attempts/{attempt}/_manifest.json"))
        shown = Snapshot.from_json(manifest["snapshot"])
    except (FileNotFoundError, ValueError, LookupError, TypeError, pa.ArrowException):
        return None
    return frozen.listing_digest if shown.digest == frozen.digest else None


def shard_rows(snapshot: Snapshot, limit: int = 100) -> Sequence[dict[str, Any]]:
    """Up to ``limit`` shards as plain rows for a table in the UI."""
    return snapshot.files.select(["path", "rows", "size", "version"]).slice(0, limit).to_pylist()
