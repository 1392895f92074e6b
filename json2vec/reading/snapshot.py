"""The frozen list of input files, with the rows of each and the one schema that unites them.

Which files are shards: those whose path matches ``match`` or, without a pattern, those that end as the suffix does.
Names that begin with ``.`` or ``_`` (in any part of the path below the root) or end with ``.tmp`` belong to whoever
writes the folder and are never shards, unless ``paths=`` names them.

Everything is kept in columns, since a snapshot may hold a million files.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from json2vec.enums import Suffix
from json2vec.errors import ReadError, SnapshotChanged, StoreError
from json2vec.reading.conform import Unifier, conform
from json2vec.reading.folder_columns import folder_values
from json2vec.reading.formats import FORMATS, ends_with, foreign, format_of, read_error
from json2vec.reading.formats.blocks import EmptyFile
from json2vec.reading.lake_tables import LakeTables, TableFolders, refuse_tables
from json2vec.reading.lasting import lasting_schema
from json2vec.reading.options import DEFAULT, ReadOptions
from json2vec.reading.plain import plain_schema
from json2vec.reading.row_hash import row_hash
from json2vec.reading.table_version import TableVersion
from json2vec.storage.store import Entry, Store

if TYPE_CHECKING:
    import polars as pl

FILES_SCHEMA = pa.schema(
    [("path", pa.string()), ("size", pa.int64()), ("version", pa.string()), ("rows", pa.int64())]
)
SHARDS_SCHEMA = pa.schema(
    [("path", pa.string()), ("size", pa.int64()), ("version", pa.string()), ("modified", pa.float64())]
)
pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
_READERS = 8  # files counted at a time; footers on an object store are all latency
_AT_ONCE = 4096  # files handed to the readers at a time


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The input files of a plan.

    Attributes:
        root: absolute path, ``s3://`` URI, or ``frame:NAME``.
        suffix: the files' format; `Suffix.parquet` for a frame.
        files: columns of `FILES_SCHEMA`, one row a file: path relative to ``root`` (sorted), size in bytes, version
            (ETag or mtime), number of rows.
        schema: the files' schemas, unified.
        options: how the files are read where they do not say it themselves.
        table: which version of a table the files are, and what its log alone knows; None where they are no table.
    """

    root: str
    suffix: Suffix
    files: pa.Table
    schema: pa.Schema
    options: ReadOptions = DEFAULT
    table: TableVersion | None = None

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return int(self.starts[-1])

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 (files + 1,): the row number in the plan of each file's first row; the last one is ``rows``."""
        counts = self.files["rows"].to_numpy()
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])

    @cached_property
    def listing_digest(self) -> str:
        """SHA-256 (hex) over suffix, path, size and version of every file: what a listing alone can tell."""
        return listing_digest(self.suffix, self.files)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over suffix, path, size, version, rows of every file, the schema and those options that are not
        at their defaults; not over the root."""
        sha = hashlib.sha256(self.listing_digest.encode())
        sha.update(self.files["rows"].to_numpy().astype("<i8").tobytes())
        sha.update(_schema_text(self.schema).encode())
        if options := self.options.to_plain():
            sha.update(json.dumps(options, sort_keys=True).encode())
        if self.table is not None and self.table.columns.num_columns:
            sha.update(self.table.texts().encode())
        return sha.hexdigest()

    def path(self, file: int) -> str:
        """The path of file number ``file``."""
        return self.files["path"][file].as_py()

    def locate(self, row: int) -> tuple[int, int]:
        """File number, and row within it, of the plan's row number ``row``."""
        file = int(np.searchsorted(self.starts, row, side="right")) - 1
        return file, row - int(self.starts[file])

    def to_json(self) -> dict[str, Any]:
        """A plain dict for `json.dumps`; the schema as base64 of its IPC bytes, options only where there are some."""
        table = {} if self.table is None else {"table": self.table.to_plain()}
        plain = {
            "root": self.root,
            "suffix": str(self.suffix),
            "files": self.files.to_pydict(),
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            **table,
        }
        options = self.options.to_plain()
        return plain | {"options": options} if options else plain

    @staticmethod
    def from_json(value: dict[str, Any]) -> Snapshot:
        """The inverse of `to_json`."""
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value["schema"])))
        options = ReadOptions.model_validate(value.get("options", {}))
        table = None if "table" not in value else TableVersion.from_plain(value["table"])
        files = pa.table(value["files"], schema=FILES_SCHEMA)
        return Snapshot(value["root"], Suffix(value["suffix"]), files, schema, options, table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and (self.root, self.digest) == (other.root, other.digest)

    def __hash__(self) -> int:
        return hash((self.root, self.digest))


def listing_digest(suffix: Suffix, shards: pa.Table) -> str:
    """SHA-256 (hex) over ``suffix`` and the columns path, size and version of ``shards``, in their order."""
    sha = hashlib.sha256(str(suffix).encode())
    for name in ("path", "version"):
        texts = shards[name].cast(pa.large_string()).combine_chunks()
        sha.update(pc.binary_length(texts).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        for start in range(0, len(texts), 65536):
            sha.update("".join(texts.slice(start, 65536).to_pylist()).encode())
    sha.update(shards["size"].to_numpy().astype("<i8").tobytes())
    return sha.hexdigest()


def _schema_text(schema: pa.Schema) -> str:
    return json.dumps([[f.name, str(f.type), f.nullable] for f in schema])


def list_shards(store: Store, suffix: Suffix | str, *, match: str | re.Pattern[str] | None = None) -> pa.Table:
    """The files that a snapshot would hold, without opening any.

    Args:
        match: regular expression searched in the full path or URI; it alone decides then. Default: the files that end
            as the suffix does.

    Returns:
        Columns of `SHARDS_SCHEMA`, sorted by path; no rows where nothing matches.

    Raises:
        ReadError: the root is missing or cannot be listed.
    """
    return _listed(store, suffix, match)[0]


def _listed(
    store: Store, suffix: Suffix | str, match: str | re.Pattern[str] | None
) -> tuple[pa.Table, TableFolders]:
    """The table of `list_shards`, and the folders of tables that were met on the way."""
    suffix, tables = Suffix(suffix), TableFolders()
    pattern = re.compile(match) if match is not None else None
    try:
        entries = tables.seen(store.list())
        return _shard_table(entry for entry in entries if _is_shard(entry, store, suffix, pattern)), tables
    except StoreError as exc:
        raise ReadError(str(exc)) from exc


def _is_shard(entry: Entry, store: Store, suffix: Suffix, pattern: re.Pattern[str] | None) -> bool:
    path = entry.path
    if path[0] in "._" or path.endswith(".tmp") or "/." in path or "/_" in path:
        return False
    return ends_with(path, suffix) if pattern is None else pattern.search(store.uri(path)) is not None


def _shard_table(entries: Iterable[Entry]) -> pa.Table:
    columns: tuple[list[str], list[int], list[str], list[float]] = ([], [], [], [])
    for entry in entries:
        for column, value in zip(columns, (entry.path, entry.size, entry.version, entry.modified), strict=True):
            column.append(value)  # type: ignore[arg-type]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, SHARDS_SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SHARDS_SCHEMA).sort_by("path")


def snapshot_files(
    store: Store,
    suffix: Suffix | str,
    *,
    match: str | re.Pattern[str] | None = None,
    paths: Iterable[str] | None = None,
    input_schema: pa.Schema | None = None,
    options: ReadOptions = DEFAULT,
    lake_tables: LakeTables = "refuse",
) -> Snapshot:
    """Freeze the input files: list them, count their rows and unite their schemas.

    Parquet, Feather, ORC: footers only. NDJSON, CSV, Avro: one pass over the files.

    Args:
        match: regular expression searched in the full path or URI of a file.
        paths: the files themselves, relative to the store's root, instead of a pattern.
        input_schema: the columns to read, instead of all that the files have. A column that a file lacks is null.
        options: how the files are read; the snapshot keeps them.
        lake_tables: ``refuse`` files that lie in the folder of a Delta, Iceberg or Hudi table, or take such a folder's
            ``files`` like any others; see `json2vec.reading.lake_tables`. Files of ``paths`` are taken as they are.

    Raises:
        ReadError: no matching file, an unreadable file, files whose schemas clash, or the folder of a table; names the
            pattern, the file or the folder.
    """
    suffix = Suffix(suffix)
    if paths is None:
        shards, tables = _listed(store, suffix, match)
        if lake_tables == "refuse" and shards.num_rows:
            refuse_tables(store, tables, (path for chunk in shards["path"].chunks for path in _strings(chunk)))
    else:
        shards = _shard_table(_stat(store, path) for path in sorted(set(paths)))
    if not shards.num_rows:
        wanted = f"match={getattr(match, 'pattern', match)!r}" if match is not None else f"the suffix {suffix!r}"
        raise ReadError(
            f"no file below {store.uri()} fits {'paths=' if paths is not None else wanted}. "
            "Remedy: check the root, the pattern (searched in the full path) and whether the files have arrived"
        )
    counts, unifier = [], Unifier(text=FORMATS[suffix].types == "texts")
    for path, rows, schema in _count_all(store, suffix, shards, options, infer=input_schema is None):
        counts.append(rows)
        folder_values(store.uri(path), options.folder_columns)
        if input_schema is None and schema is not None:
            unifier.add(schema, store.uri(path))
    files = shards.select(["path", "size", "version"]).append_column("rows", pa.array(counts, pa.int64()))
    schema = unifier.schema if input_schema is None else lasting_schema(plain_schema(input_schema), "input_schema=")
    for name in options.folder_columns:
        at = schema.get_field_index(name)
        if at < 0 and input_schema is None:
            schema = schema.append(pa.field(name, pa.string()))
        elif at >= 0 and pa.types.is_null(schema.field(at).type):
            schema = schema.set(at, pa.field(name, pa.string()))
        elif at < 0:
            raise ReadError(
                f"folder_columns= names {name!r}, which input_schema= has not. Remedy: add it there, with its type"
            )
    return Snapshot(store.root, suffix, files.cast(FILES_SCHEMA).combine_chunks(), schema, options)


def _stat(store: Store, path: str) -> Entry:
    try:
        return store.stat(path)
    except FileNotFoundError as exc:
        raise ReadError(f"{store.uri(path)} does not exist. Remedy: check paths=") from exc


def _count_all(
    store: Store, suffix: Suffix, shards: pa.Table, options: ReadOptions, infer: bool
) -> Iterator[tuple[str, int, pa.Schema | None]]:
    one = format_of(suffix, options)

    def count(path: str, size: int) -> tuple[str, int, pa.Schema | None]:
        where = store.uri(path)
        try:
            if not size:
                raise EmptyFile(where)
            with store.open(path) as file:
                rows, schema = one.count(file, where, infer)
                if schema is not None:
                    plain_schema(schema)  # names at any depth that are no text fail here, where the file is known
                return path, rows, schema
        except EmptyFile:
            if options.empty_files == "skip":
                return path, 0, None
            raise
        except Exception as exc:
            if foreign(exc):
                raise read_error(where, suffix, exc) from exc
            raise

    sizes = iter(shards["size"].to_numpy().tolist())
    names = (name for chunk in shards["path"].chunks for name in _strings(chunk))
    with ThreadPoolExecutor(_READERS, "json2vec-count") as pool:
        while some := list(itertools.islice(names, _AT_ONCE)):
            yield from pool.map(count, some, itertools.islice(sizes, len(some)))


def _strings(array: pa.Array) -> Iterator[str]:
    for start in range(0, len(array), 65536):
        yield from array.slice(start, 65536).to_pylist()


def frame_table(frame: pl.DataFrame | pl.LazyFrame | pa.Table) -> pa.Table:
    """A frame's rows in Arrow, in the types that a snapshot of it has. A lazy frame is collected."""
    import polars as pl

    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pl.DataFrame):
        frame = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    schema = lasting_schema(plain_schema(frame.schema), "frame")
    table: Any = frame
    batches = [conform(batch, schema, lambda row: f"frame, row {row}") for batch in table.to_batches()]
    return pa.Table.from_batches(batches, schema=schema)


def snapshot_frame(frame: pl.DataFrame | pl.LazyFrame | pa.Table, name: str = "predict") -> Snapshot:
    """The snapshot of a frame: one file ``frame:NAME`` whose version is a SHA-256 over schema and row hashes."""
    table = frame_table(frame)
    sha = hashlib.sha256(_schema_text(table.schema).encode())
    for batch in table.to_batches(max_chunksize=65536):
        sha.update(row_hash(batch).astype("<u8").tobytes())
    path = f"frame:{name}"
    files = pa.table(
        {"path": [path], "size": [table.nbytes], "version": [sha.hexdigest()], "rows": [table.num_rows]},
        schema=FILES_SCHEMA,
    )
    return Snapshot(path, Suffix.parquet, files, table.schema)


def check_file(snapshot: Snapshot, store: Store, file: int) -> None:
    """Raise `SnapshotChanged` unless file number ``file`` still has the size and version of the snapshot."""
    path, size, version = (snapshot.files[name][file].as_py() for name in ("path", "size", "version"))
    try:
        now = store.stat(path)
    except FileNotFoundError as exc:
        raise SnapshotChanged(f"{store.uri(path)} is gone since the plan was made. Remedy: make a new plan") from exc
    if (now.size, now.version) != (size, version):
        raise SnapshotChanged(
            f"{store.uri(path)} changed since the plan was made: expected {size} bytes, version {version}; found "
            f"{now.size} bytes, version {now.version}. Remedy: make a new plan (run again)"
        )


def check_unchanged(snapshot: Snapshot, store: Store) -> None:
    """Compare every file's size and version with the store's.

    Raises:
        SnapshotChanged: a file was written again or is gone; names it.
    """
    with ThreadPoolExecutor(_READERS, "json2vec-check") as pool:
        for start in range(0, snapshot.files.num_rows, _AT_ONCE):
            some = range(start, min(start + _AT_ONCE, snapshot.files.num_rows))
            for _ in pool.map(lambda file: check_file(snapshot, store, file), some):
                pass
