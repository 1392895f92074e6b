"""The data files of one partition of an Iceberg table: written in bounded memory, listed, and removed again.

pyiceberg's own ``append`` is not used: it wants all rows of a partitioned table at once, and turns null lists of
structs into empty ones. Its writer of Parquet files is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from j2v_dagster.warehouse.base import WarehouseError
from j2v_dagster.warehouse.names import plain_name

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

_ROW_GROUP_BYTES = 32 * 2**20
_log = logging.getLogger(__name__)


class DataFiles:
    """The new data files of one load, which no snapshot knows until one is staged.

    Args:
        table: partitioned by the identity of ``column`` alone.
        column: the partition column; it is added to the rows.
        partition: its value.
        prefix: of the files' names; no two loads share one.
        file_bytes: Arrow bytes after which another file begins.
    """

    def __init__(self, table: Table, *, column: str, partition: str, prefix: str, file_bytes: int) -> None:
        self.table, self.column, self.partition = table, column, partition
        self.prefix, self.file_bytes = prefix, file_bytes
        self.paths: list[str] = []

    def write(self, batches: Iterable[pa.RecordBatch]) -> list[DataFile]:
        """Write all rows; holds one row group in memory, up to 32 MiB and a batch of Arrow data."""
        from pyiceberg.io.fileformat import FileFormatFactory
        from pyiceberg.manifest import FileFormat

        files: list[DataFile] = []
        groups = self._row_groups(batches)
        group = next(groups, None)
        while group is not None:
            # A folder a partition, for people; readers go by the table's metadata.
            name = f"{plain_name(self.partition)}/{self.prefix}-{len(files)}.parquet"
            path = self.table.location_provider().new_data_location(name)
            self.paths.append(path)
            output = self.table.io.new_output(path)
            size = 0
            model = FileFormatFactory.get(FileFormat.PARQUET)
            with model.create_writer(output, self.table.schema(), self.table.properties) as writer:
                while group is not None and size < self.file_bytes:
                    writer.write(group)
                    size += group.nbytes
                    group = next(groups, None)
            files.append(self._describe(path, len(output), writer.result().to_serialized_dict()))
        return files

    def remove(self) -> None:
        """Delete every file of this load, whole or not."""
        for path in self.paths:
            remove(self.table, path)

    def _row_groups(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        schema = schema_to_pyarrow(self.table.schema())  # with the fields' numbers, by which readers find them
        enough = min(self.file_bytes, _ROW_GROUP_BYTES)
        held: list[pa.RecordBatch] = []
        size = 0
        for batch in batches:
            if not batch.num_rows:
                continue
            key = pa.repeat(pa.scalar(self.partition, pa.string()), batch.num_rows)
            columns = dict(zip([*batch.schema.names, self.column], [*batch.columns, key], strict=True))
            arrays = [columns[field.name].cast(field.type) for field in schema]
            held.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            size += held[-1].nbytes
            if size >= enough:
                yield pa.Table.from_batches(held)
                held, size = [], 0
        if held:
            yield pa.Table.from_batches(held)

    def _describe(self, path: str, size: int, statistics: dict[str, Any]) -> DataFile:
        from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
        from pyiceberg.typedef import Record

        return DataFile.from_args(
            content=DataFileContent.DATA, file_path=path, file_format=FileFormat.PARQUET, file_size_in_bytes=size,
            partition=Record(self.partition), spec_id=self.table.spec().spec_id, sort_order_id=None, equality_ids=None,
            key_metadata=None, **statistics,
        )  # fmt: skip


def partition_files(table: Table, snapshot: Snapshot, *, column: str, partition: str) -> list[DataFile]:
    """The data files of one partition in ``snapshot``.

    Raises:
        WarehouseError: one that may hold other partitions too, which only another writer can have made.
    """
    scan = table.scan(row_filter=in_partition(column, partition), snapshot_id=snapshot.snapshot_id)
    files = [task.file for task in scan.plan_files()]
    for data_file in files:
        if data_file.spec_id != table.spec().spec_id:
            raise WarehouseError(
                f"{data_file.file_path} was written with another partition spec and may hold other partitions than "
                f"{partition!r}. Nothing was changed. Remedy: rewrite the table's data files with its spec of today"
            )
    return files


def in_partition(column: str, partition: str) -> BooleanExpression:
    """The filter of one partition's rows; name and value are never parsed."""
    from pyiceberg.expressions import EqualTo, Reference
    from pyiceberg.expressions.literals import literal

    return EqualTo(term=Reference(column), value=literal(partition))


def remove_abandoned(table: Table, snapshot: Snapshot, *, data: bool) -> None:
    """Delete what a snapshot that is no more had added: manifests, manifest list and, with ``data``, data files."""
    from pyiceberg.manifest import ManifestEntryStatus

    paths = [snapshot.manifest_list]
    for manifest in snapshot.manifests(table.io):
        if manifest.added_snapshot_id != snapshot.snapshot_id:
            continue
        paths.append(manifest.manifest_path)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            if data and entry.status == ManifestEntryStatus.ADDED and entry.snapshot_id == snapshot.snapshot_id:
                paths.append(entry.data_file.file_path)
    for path in paths:
        remove(table, path)


def remove(table: Table, path: str) -> None:
    """Delete a file that no snapshot needs. One that stays is garbage and harms nobody, so that is only logged."""
    try:
        table.io.delete(path)
    except FileNotFoundError:
        pass
    except OSError:
        _log.warning("cannot delete %s, which no snapshot needs", path, exc_info=True)
