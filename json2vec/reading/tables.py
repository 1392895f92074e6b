"""Tables of Delta Lake and Apache Iceberg as inputs: the files of one version, frozen like the files of a folder.

    orders = snapshot_table("s3://lake/orders", "delta", version=12)
    data = StreamingDataModule(model=model, root=orders.root, suffix="parquet", predict=orders)

A table at a version is a list of Parquet files, with values that only its log knows: the columns that it is partitioned
by need not stand in the files. They come as columns like all others. What cannot be read rightly by reading its files
(deletion vectors, delete files, mapped column names) is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute

from json2vec.enums import Suffix
from json2vec.errors import ReadError
from json2vec.reading.delta import delta_files
from json2vec.reading.plain import plain_schema
from json2vec.reading.snapshot import Snapshot, snapshot_files
from json2vec.reading.table_version import TableFiles, TableKind, TableVersion
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


def table_files(store: Store, kind: str, version: int | None = None) -> TableFiles:
    """The data files of a table at a version.

    Args:
        store: whose root is the folder of the table.
        kind: ``delta`` or ``iceberg``.
        version: the version of a Delta table, the snapshot id of an Iceberg table; None takes the latest.

    Raises:
        ReadError: no such table or version, an extra that is not installed, or a table that cannot be read rightly by
            reading its files.
    """
    if kind == "delta":
        return delta_files(store, version)
    raise ReadError(f"kind of table {kind!r} is unknown; expected 'delta'")


def snapshot_table(
    root: str | os.PathLike[str] | Store, kind: TableKind, version: int | None = None, *,
    where: Mapping[str, str] | None = None, storage_options: dict[str, Any] | None = None,
) -> Snapshot:  # fmt: skip
    """Freeze a table at a version: a snapshot like that of a folder, for the data modules and `PredictJob`.

    Args:
        root: the folder of the table: a local path or a URI.
        kind: ``delta`` or ``iceberg``.
        version: the version of a Delta table, the snapshot id of an Iceberg table; None takes the latest, and the
            snapshot records which that is.
        where: text by name of a partition column: only files in which the columns have these values.
        storage_options: passed to the object store's client.

    Raises:
        ReadError: no such table, version or partition; a file that is gone; a table that cannot be read rightly by
            reading its files; names it.
    """
    store = open_store(root, storage_options)
    found = table_files(store, kind, version)
    if where:
        found = found.where(where)
    if not found.paths:
        of = f" where {dict(where)}" if where else ""
        raise ReadError(
            f"{store.uri()}: version {found.version} of the {kind} table has no file{of}. "
            "Remedy: check the version and the partition, and whether the rows have arrived"
        )
    order = pc.sort_indices(pa.array(found.paths, pa.string()))
    snapshot = snapshot_files(store, Suffix.parquet, paths=found.paths, input_schema=plain_schema(found.schema))
    counted, said = snapshot.files["rows"].combine_chunks(), found.rows.take(order)
    different = pc.indices_nonzero(pc.fill_null(pc.not_equal(counted, said), False)).to_pylist()
    if different:
        first = different[0]
        raise ReadError(
            f"{store.uri(snapshot.path(first))} has {counted[first]} rows; the log of the {kind} table says "
            f"{said[first]}. The file is not the one that was added. Remedy: restore it, or take another version"
        )
    columns = found.columns.take(order) if found.columns.num_columns else found.columns
    return replace(snapshot, table=TableVersion(found.kind, found.version, columns.combine_chunks()))
