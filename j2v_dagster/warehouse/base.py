"""What a pipeline asks of a warehouse: replace one partition of one table, wholly or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


class WarehouseError(Exception):
    """A warehouse that refused a load; the table still shows what it showed before."""


class StaleLoad(WarehouseError):
    """A load of an attempt that is not newer than the one that the table shows; see `j2v_dagster.warehouse.fence`."""


class SchemaDrift(WarehouseError, ValueError):
    """An existing table whose columns are not the ones to load."""


@dataclass(frozen=True)
class Loaded:
    """What a load did.

    Attributes:
        rows: rows of the partition now.
        replaced: rows of the partition before.
        created: whether the table was made by this load.
    """

    rows: int
    replaced: int
    created: bool


class Warehouse(Protocol):
    """Tables of predictions.

    Attributes:
        kind: the name of the technology, shown as an asset kind.
    """

    kind: str

    def uri(self, table: str) -> str:
        """Where the table is, for metadata; never holds credentials."""
        ...

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
        """Replace the rows of one partition in one transaction; readers see the old rows or the new ones.

        Args:
            table: the table's name, made on first use; taken literally, quoted as one identifier.
            partition_column: text column that holds the partition's key; it is added to ``schema``.
            partition: the key.
            schema: the batches' schema: column names and types.
            batches: streamed, never held together in memory.
            rows: how many there must be; anything else rolls back.
            note: what is loaded: ``attempt``, ``manifest_sha256``, ``model``, and by which the load is fenced,
                ``sequence`` (a number as text) and ``counter``. It is kept with the partition, in the commit that
                replaces the rows, and compared with the one before in that same commit
                (`j2v_dagster.warehouse.fence.check_newer`): a load that was paused, and overtaken, is refused whenever
                it wakes up. None: nothing is compared, and what was noted of the partition before is forgotten.

        Raises:
            StaleLoad: the partition shows what is newer; the batches were not asked for where that was known before.
            SchemaDrift: the table exists with other columns or types.
            WarehouseError: anything else that kept the load from being committed.
        """
        ...
