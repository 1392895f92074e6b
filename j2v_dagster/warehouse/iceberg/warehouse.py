"""Iceberg: a partition is written to an audit branch, audited there, and published by moving ``main`` to it.

A load makes three commits, and readers of ``main`` see only the last: the audit branch is set to ``main``'s snapshot;
one snapshot on it drops the partition's files and adds the new ones; ``main`` moves to that snapshot and the branch
goes, provided that ``main`` is still where the load began. If another partition was published meanwhile, the same data
files are staged on the new ``main`` and audited again.
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from j2v_dagster.warehouse.base import Loaded, SchemaDrift, WarehouseError
from j2v_dagster.warehouse.fence import check_newer
from j2v_dagster.warehouse.iceberg.audit_branch import AuditBranch, OutcomeUnknown
from j2v_dagster.warehouse.iceberg.data_files import DataFiles
from j2v_dagster.warehouse.iceberg.schema import spell_columns, storable, to_iceberg
from j2v_dagster.warehouse.names import check_name, plain_name
from j2v_dagster.warehouse.refusals import check_rows, describe_drift
from json2vec.errors import missing_extra
from json2vec.storage.opening import absolute

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

_SECRET = re.compile("secret|password|token|credential|access-key", re.IGNORECASE)
_log = logging.getLogger(__name__)


class IcebergWarehouse:
    """Tables of one namespace in an Iceberg catalog, each partitioned by its partition column.

    Args:
        path: a local folder with a SQLite catalog of its own, ``catalog.db``, and the tables' files; made on first use.
            Without it the catalog is the one that ``catalog``, ``uri`` and ``properties`` name, pyiceberg's own
            configuration file and ``PYICEBERG_CATALOG__...`` variables included, which is where secrets belong.
        uri: address of the catalog: ``postgresql+psycopg2://...``, ``https://...`` (REST) or what else pyiceberg takes.
        location: root of the tables' files, a path or a URI such as ``s3://bucket/warehouse``; default: ``path``, or
            what the catalog says.
        catalog: the catalog's name.
        namespace: of all tables; made on first use. Dots separate its levels.
        properties: more properties of the catalog, such as ``s3.endpoint``.
        file_bytes: Arrow bytes after which a load begins another data file. It holds one row group of up to 32 MiB in
            memory, whatever the partition's size.
        commit_attempts: how often a load tries to publish while other partitions of the table are published.

    Raises:
        ValueError: options that cannot be meant, or pyiceberg is not installed.
    """

    kind = "iceberg"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        uri: str | None = None,
        location: str | None = None,
        catalog: str = "default",
        namespace: str = "default",
        properties: Mapping[str, Any] | None = None,
        file_bytes: int = 512 * 2**20,
        commit_attempts: int = 20,
    ) -> None:
        if path is not None and uri is not None:
            raise ValueError("an Iceberg warehouse takes path (a folder with a catalog of its own) or uri, not both")
        if not all(namespace.split(".")) or "\0" in namespace:
            raise ValueError(f"Iceberg namespace {namespace!r}: expected non-empty names with dots between them")
        if file_bytes < 1 or commit_attempts < 1:
            raise ValueError("an Iceberg warehouse's file_bytes and commit_attempts are at least 1")
        if missing := missing_extra("iceberg", "an Iceberg warehouse"):
            raise ValueError(missing)
        self.path = None if path is None else os.path.abspath(os.path.expanduser(os.fspath(path)))
        self.catalog, self.namespace = catalog, namespace
        self.uri_of_catalog, self.location = uri, location or self.path
        if self.location is not None:
            self.location = absolute(self.location)
        self.properties = {name: str(value) for name, value in (properties or {}).items()}
        self.file_bytes, self.commit_attempts = file_bytes, commit_attempts

    def uri(self, table: str) -> str:
        return f"iceberg://{self.path or self.catalog}/{self.namespace}/{table}"

    def replace_partition(
        self,
        *,
        table: str,
        partition_column: str,
        partition: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        rows: int,
        note: Mapping[str, str] | None = None,
    ) -> Loaded:
        """See `j2v_dagster.warehouse.base.Warehouse.replace_partition`."""
        check_name(table)
        check_name(partition_column)
        where = f"table {self.uri(table)}, partition {partition!r}"
        columns = storable(schema).append(pa.field(partition_column, pa.string()))
        try:
            with self._open() as catalog:
                opened, created = self._prepare(catalog, table, columns, partition_column)
                load = uuid.uuid4().hex
                branch = AuditBranch(opened, column=partition_column, partition=partition, load=load, where=where)
                check_newer(where, branch.shown(), note)  # before a file is written; the commit compares again
                new = DataFiles(
                    opened, column=partition_column, partition=partition, prefix=load, file_bytes=self.file_bytes
                )
                try:
                    files = new.write(batches)
                    check_rows(where, sum(data_file.record_count for data_file in files), rows)
                    replaced = self._publish(branch, files, rows=rows, note=note or {})
                except OutcomeUnknown:
                    raise
                except BaseException:
                    _abandon(branch, new)
                    raise
                return Loaded(rows=rows, replaced=replaced, created=created)
        except WarehouseError:
            raise
        # pyiceberg, SQLAlchemy, pyarrow and the object stores have no error in common.
        except Exception as exc:
            text = f"{type(exc).__name__}: {exc}"
            shown = self._without_secrets(text)
            # The cause would bring the secrets back.
            cause = exc if shown == text else None
            raise WarehouseError(f"{where}: {shown}. Nothing was changed") from cause

    def _publish(self, branch: AuditBranch, files: list[DataFile], *, rows: int, note: Mapping[str, str]) -> int:
        """Stage, audit and publish ``files``, again if another partition was quicker; the rows that were replaced."""
        first: set[str] | None = None
        for attempt in range(self.commit_attempts):
            if attempt:
                time.sleep(random.uniform(0.02, 0.1) * min(attempt, 10))
            base = branch.main()
            # The commit is refused unless main is still here, and what it shows changes with it alone.
            check_newer(branch.where, branch.shown(), note)
            old = branch.files(base)
            paths = {data_file.file_path for data_file in old}
            if first is not None and paths != first:
                raise WarehouseError(
                    f"{branch.where}: another load published this partition meanwhile (snapshot {base.snapshot_id}), "
                    "and its rows stay. Remedy: load again if these rows are the newer"
                )
            first = paths
            staged = branch.stage(base, old, files, note)
            if staged is None:
                continue
            branch.audit(base, staged, old, files, rows=rows)
            if branch.fast_forward(base, staged):
                return sum(data_file.record_count for data_file in old)
        raise WarehouseError(
            f"{branch.where}: other partitions were published {self.commit_attempts} times while this one tried. "
            "Nothing was changed. Remedy: run fewer loads of this table at once, or raise commit_attempts"
        )

    def _prepare(self, catalog: Catalog, table: str, columns: pa.Schema, partition_column: str) -> tuple[Table, bool]:
        """Load or make the table and compare its columns with those to load; whether it was made."""
        from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
        from pyiceberg.partitioning import PartitionField, PartitionSpec
        from pyiceberg.transforms import IdentityTransform

        identifier = (*self.namespace.split("."), table)
        numbered = to_iceberg(columns)
        column = numbered.find_field(partition_column)
        try:
            opened, created = catalog.load_table(identifier), False
        except NoSuchTableError:
            # Another load may make them at the same moment: both then go on with the same table.
            try:
                catalog.create_namespace_if_not_exists(identifier[:-1])
            except Exception:
                # The SQL catalog lets its database's own error through.
                if not catalog.namespace_exists(identifier[:-1]):
                    raise
            spec = PartitionSpec(PartitionField(column.field_id, 1000, IdentityTransform(), partition_column))
            folder = self.location and f"{self.location.rstrip('/')}/{plain_name(self.namespace)}/{plain_name(table)}"
            # Each load leaves three metadata files; the newest hundred are kept.
            properties = {
                "write.metadata.delete-after-commit.enabled": "true",
                "write.metadata.previous-versions-max": "100",
            }
            try:
                opened = catalog.create_table(
                    identifier, numbered, location=folder, partition_spec=spec, properties=properties
                )
                created = True
            except TableAlreadyExistsError:
                opened, created = catalog.load_table(identifier), False
        expected, existing = spell_columns(numbered.columns), spell_columns(opened.schema().columns)
        if existing != expected:
            how = "{} (in Python, table.update_schema() adds columns)"
            raise SchemaDrift(describe_drift(self.uri(table), expected, existing, how=how))
        spec = opened.spec()
        source = opened.schema().find_field(partition_column).field_id
        if [(field.source_id, str(field.transform)) for field in spec.fields] != [(source, "identity")]:
            raise SchemaDrift(
                f"table {self.uri(table)} is partitioned by {spec}; expected the identity of {partition_column!r} "
                "alone. Nothing was changed. Remedy: load into another table, or restore the partition spec"
            )
        _have_a_snapshot(opened)
        return opened, created

    def _without_secrets(self, text: str) -> str:
        secrets = [value for name, value in self.properties.items() if _SECRET.search(name) and value]
        for secret in secrets:
            text = text.replace(secret, "***")
        return re.sub(r"://[^/@\s]+@", "://***@", text)

    @contextmanager
    def _open(self) -> Iterator[Catalog]:
        from pyiceberg.catalog import load_catalog

        properties = dict(self.properties)
        if self.path is not None:
            Path(self.path).mkdir(parents=True, exist_ok=True)
            # SQLite lets one writer in at a time; a commit takes it for milliseconds.
            properties |= {"type": "sql", "uri": f"sqlite:///{self.path}/catalog.db?timeout=60"}
        elif self.uri_of_catalog is not None:
            properties["uri"] = self.uri_of_catalog
        if self.location is not None:
            properties["warehouse"] = self.location
        with _first_of_all(self.path):
            catalog = load_catalog(self.catalog, **properties)
        try:
            yield catalog
        finally:
            catalog.close()


@contextmanager
def _first_of_all(path: str | None) -> Iterator[None]:
    """One process, or thread, at a time looks whether the local catalog has its SQL tables, and makes them."""
    if path is None:
        yield
        return
    import fcntl

    with open(os.path.join(path, "catalog.lock"), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _have_a_snapshot(table: Table) -> None:
    """Give a table without any an empty snapshot: pyiceberg makes branches of a snapshot only."""
    from pyiceberg.exceptions import CommitFailedException

    while table.current_snapshot() is None:
        sequence = table.last_sequence_number
        try:
            with table.transaction() as transaction, transaction.update_snapshot().fast_append():
                pass
        except (CommitFailedException, ValueError):
            # Another load was quicker; ValueError is what pyiceberg raises where it took our sequence number.
            table.refresh()
            if table.last_sequence_number == sequence:
                raise
        table.refresh()


def _abandon(branch: AuditBranch, files: DataFiles) -> None:
    """Remove what a failed load has written. Where that fails too, the next load of the partition finds it."""
    try:
        branch.abandon()
        files.remove()
    except Exception:
        _log.warning("%s: cannot clean up after a failed load", branch.where, exc_info=True)
