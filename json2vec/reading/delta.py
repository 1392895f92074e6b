"""Delta tables: which Parquet files a version consists of, as its log says. Needs the extra ``delta``."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from json2vec.errors import ReadError, missing_extra
from json2vec.reading.plain import plain_type
from json2vec.reading.table_version import TableFiles
from json2vec.storage.store import Store

_UNDERSTOOD = frozenset({
    "columnMapping", "deletionVectors",  # looked at one by one: a table may allow them and use none
    "timestampNtz", "typeWidening", "typeWidening-preview", "v2Checkpoint", "vacuumProtocolCheck", "appendOnly",
    "invariants", "checkConstraints", "generatedColumns", "identityColumns", "changeDataFeed", "domainMetadata",
    "rowTracking", "inCommitTimestamp", "allowColumnDefaults", "clustering",
})  # fmt: skip
"""Features of a table under which its files hold its rows, or which are looked at below."""


def delta_files(store: Store, version: int | None) -> TableFiles:
    """`table_files` of a Delta table."""
    if missing := missing_extra("delta", f"reading {store.uri()} as a Delta table"):
        raise ReadError(missing)
    table = _opened(store, version)
    _refuse(table, store.uri())
    actions = pa.table(table.get_add_actions(flatten=False))
    paths = [_path(path, store) for path in actions["path"].to_pylist()]
    schema = pa.schema(table.schema().to_arrow())
    names = list(table.metadata().partition_columns)
    # An empty name list, or no file at all: then there is no such column.
    given: Any = actions["partition"].combine_chunks() if names and actions.num_rows else None
    columns = {}
    for name in names:
        kind = plain_type(schema.field(name).type)
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise ReadError(f"{store.uri()} is partitioned by {name!r}, of type {kind}, which is not supported")
        columns[name] = pa.array([], kind) if given is None else given.field(name).cast(kind)
    rows = actions["num_records"].combine_chunks() if "num_records" in actions.column_names else None
    return TableFiles(
        "delta", table.version(), paths, pa.nulls(len(paths), pa.int64()) if rows is None else rows, schema,
        pa.table(columns),
    )  # fmt: skip


def _opened(store: Store, version: int | None) -> Any:
    import deltalake
    from deltalake.exceptions import DeltaError

    options = {name: str(value) for name, value in store.polars_options().items()}
    try:
        return deltalake.DeltaTable(store.uri(), version=version, storage_options=options or None)
    except (DeltaError, OSError, ValueError) as exc:
        asked = "" if version is None else f" at version {version}"
        raise ReadError(
            f"{store.uri()} cannot be opened as a Delta table{asked}: {exc}. Remedy: check the root, which must be the "
            "folder above _delta_log, and that the version is still there"
        ) from exc


def _refuse(table: Any, where: str) -> None:
    """Refuse what reading the files would get wrong."""
    features = set(table.protocol().reader_features or ())
    if unknown := sorted(features - _UNDERSTOOD):
        raise ReadError(f"{where}: the Delta table needs readers to know {unknown}, which this one does not. Remedy: "
                        "drop the feature, or write the rows into a table without it")  # fmt: skip
    mode = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mode != "none":
        raise ReadError(
            f"{where}: the columns of the Delta table are mapped by {mode} (delta.columnMapping.mode), so that its "
            "files have other names. Remedy: write the rows into a table without column mapping"
        )
    if "deletionVectors" in features and _has_deletion_vectors(table):
        raise ReadError(
            f"{where}: version {table.version()} of the Delta table has deletion vectors, so that its files hold rows "
            "which are deleted. Remedy: REORG TABLE ... APPLY (PURGE) writes the files anew; then take that version"
        )


def _has_deletion_vectors(table: Any) -> bool:
    from deltalake.exceptions import DeltaError

    try:
        return bool(pa.table(table.deletion_vectors()).num_rows)
    except DeltaError:  # there are some, and one cannot be read
        return True


def _path(path: str, store: Store) -> str:
    """An add action's path as the store spells it."""
    if urlsplit(path).scheme or path.startswith("/"):
        raise ReadError(
            f"{store.uri()}: the Delta table has a file outside of its folder, {path} (a shallow clone). Remedy: read "
            "the table that it was cloned from, or clone it deeply"
        )
    return unquote(path)
