"""Reading a prediction folder: exactly the files of its manifest, or an error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.errors import IncompletePredictions
from json2vec.rank_files.commit import read_footer
from json2vec.rank_files.manifest import MANIFEST_NAME, Manifest, parse_name, read_manifest
from json2vec.reading.snapshot import Snapshot
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store

if TYPE_CHECKING:
    import polars as pl


def read_predictions(
    path: str | os.PathLike[str] | Store, *, storage_options: dict[str, Any] | None = None
) -> pl.LazyFrame:
    """A lazy frame over the rank files of a committed folder, in the order of ranks and segments.

    Presence and sizes are checked now; contents are not (`verify_predictions` does that).

    Args:
        path: the prediction folder, local or in an object store.
        storage_options: options for the object store's client; unused for local folders.

    Returns:
        Columns ``inputs`` (if the writer kept them), ``predictions`` and ``source``.

    Raises:
        IncompletePredictions: there is no manifest, a file is missing or of another size, or ``path`` is one rank file
            of several.
    """
    import polars as pl

    store = open_store(path, storage_options)
    _refuse_single(store)
    manifest = read_manifest(store)
    check_files(store, manifest)
    files = [store.uri(file.path) for file in manifest.files]
    options = store.polars_options()
    return pl.scan_parquet(files, glob=False, hive_partitioning=False, storage_options=options or None)


def check_files(store: Store, manifest: Manifest) -> None:
    """Raise `IncompletePredictions` if a file of the manifest is missing or of another size."""
    problems: dict[int, list[str]] = {}
    for file in (*manifest.files, *manifest.rejected):
        try:
            size = store.stat(file.path).size
        except FileNotFoundError:
            problems.setdefault(file.rank, []).append(f"{file.path} is missing ({file.rows} rows)")
            continue
        if size != file.bytes:
            problems.setdefault(file.rank, []).append(f"{file.path} has {size} bytes, expected {file.bytes}")
    if problems:
        details = "; ".join(f"rank {rank}: {', '.join(texts)}" for rank, texts in sorted(problems.items()))
        raise IncompletePredictions(
            f"{store.uri()} is not complete. {details}. The manifest lists {len(manifest.files)} rank files with "
            f"{manifest.rows} rows. Remedy: predict again, or restore the files",
            ranks=sorted(problems),
        )


def read_snapshot(store: Store, manifest: Manifest) -> Snapshot:
    """The input snapshot that a manifest holds.

    Raises:
        IncompletePredictions: the snapshot cannot be parsed: the manifest was damaged.
    """
    try:
        snapshot = Snapshot.from_json(manifest.snapshot)
        _ = snapshot.digest  # names and types are decoded when they are first looked at: look now
        return snapshot
    except (KeyError, TypeError, ValueError, OSError, OverflowError, pa.ArrowException) as exc:
        raise IncompletePredictions(
            f"{store.uri(MANIFEST_NAME)} holds a snapshot that cannot be read: {type(exc).__name__}: {exc}. "
            "Remedy: restore the manifest, or predict again"
        ) from exc


def _refuse_single(store: Store) -> None:
    """Raise `IncompletePredictions` if the root is a Parquet file, one of several as a rule, instead of a folder."""
    if not store.root.endswith(".parquet"):
        return
    try:
        store.stat("")
    except FileNotFoundError:
        return
    folder, _, name = store.root.rpartition("/")
    footer, _ = read_footer(store, "") if parse_name(name) else (None, None)
    if footer is not None:
        raise IncompletePredictions(
            f"{store.root} is the file of rank {footer.rank} of {footer.world_size} (segment {footer.segment}, "
            f"{footer.rows} rows): one rank file is only a part of the predictions. Remedy: read the folder, "
            f"read_predictions({folder!r})",
            ranks=[footer.rank],
        )
    raise IncompletePredictions(
        f"{store.root} is not a folder of predictions. Remedy: pass the folder of the rank files"
    )


def row_batches(
    file: pq.ParquetFile, *, rows: int = 65_536, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a rank file in order, never of two row groups at once: a row group is bounded in bytes, two are not.

    Args:
        file: the rank file.
        rows: at most so many at a time.
        columns: the columns to read; default: all.
    """
    for group in range(file.num_row_groups):
        yield from file.iter_batches(rows, row_groups=[group], columns=columns)
