"""Several writers, lost replies and damaged files: what is published is what was audited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from iceberg_tables import branches, data_files, ids, known_files, look
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from j2v_dagster.warehouse.base import Loaded, WarehouseError
from j2v_dagster.warehouse.contract import P20, P21, load, rows
from j2v_dagster.warehouse.iceberg.audit_branch import AuditBranch
from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse


@pytest.fixture
def before_publishing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something else happen once, between a load's audit and its publishing."""

    def arrange(happening: Callable[[], object]) -> None:
        real = AuditBranch.fast_forward
        pending = [happening]

        def fast_forward(self: AuditBranch, base: Snapshot, staged: Snapshot) -> bool:
            if pending:
                pending.pop()()
            return real(self, base, staged)

        monkeypatch.setattr(AuditBranch, "fast_forward", fast_forward)

    return arrange


def test_a_load_goes_on_where_another_partition_was_published(
    warehouse: IcebergWarehouse, before_publishing: Callable[[Callable[[], object]], None]
) -> None:
    load(warehouse, rows("a"), 1)
    load(warehouse, rows("x"), 1, partition=P21)
    before_publishing(lambda: load(warehouse, rows("y"), 1, partition=P21))
    assert load(warehouse, rows("b"), 1) == Loaded(rows=1, replaced=1, created=False)
    assert ids(warehouse) == [(P20, "b"), (P21, "y")]
    assert branches(warehouse) == ["main"]
    assert data_files(warehouse) == known_files(warehouse)


def test_of_two_loads_of_a_partition_one_wins_and_the_other_says_so(
    warehouse: IcebergWarehouse, before_publishing: Callable[[Callable[[], object]], None]
) -> None:
    load(warehouse, rows("a"), 1)
    before_publishing(lambda: load(warehouse, rows("theirs"), 1))
    with pytest.raises(WarehouseError, match="another load of this partition took its audit branch"):
        load(warehouse, rows("ours"), 1)
    assert ids(warehouse) == [(P20, "theirs")]
    assert branches(warehouse) == ["main"]
    assert data_files(warehouse) == known_files(warehouse)


def test_a_partition_that_another_writer_changed_meanwhile_is_not_overwritten(
    warehouse: IcebergWarehouse, before_publishing: Callable[[Callable[[], object]], None]
) -> None:
    load(warehouse, rows("a"), 1)

    def append() -> None:
        (batch,) = rows("theirs")
        table = pa.Table.from_batches([batch]).append_column("partition", pa.array([P20]))
        look(warehouse, lambda opened: opened.append(table))

    before_publishing(append)
    with pytest.raises(WarehouseError, match="another load published this partition meanwhile"):
        load(warehouse, rows("ours"), 1)
    assert ids(warehouse) == [(P20, "a"), (P20, "theirs")]
    assert branches(warehouse) == ["main"]


def test_a_commit_whose_reply_was_lost_counts(warehouse: IcebergWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    load(warehouse, rows("a"), 1)
    real = SqlCatalog.commit_table

    def lossy(self: SqlCatalog, table: Table, requirements: Any, updates: Any) -> Any:
        reply = real(self, table, requirements, updates)
        if any(getattr(one, "ref_name", "") == "main" for one in updates):
            raise ConnectionResetError("the reply was lost")
        return reply

    monkeypatch.setattr(SqlCatalog, "commit_table", lossy)
    assert load(warehouse, rows("b"), 1) == Loaded(rows=1, replaced=1, created=False)
    monkeypatch.undo()
    assert ids(warehouse) == [(P20, "b")]
    assert data_files(warehouse) == known_files(warehouse)


def test_an_audit_that_finds_a_damaged_file_publishes_nothing(
    warehouse: IcebergWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(warehouse, rows("a"), 1)
    before = data_files(warehouse)
    real = AuditBranch.audit

    def damage(self: AuditBranch, *arguments: Any, **options: Any) -> None:
        (new,) = data_files(warehouse) - before
        pq.write_table(pq.ParquetFile(new).read().slice(0, 1), new)
        real(self, *arguments, **options)

    monkeypatch.setattr(AuditBranch, "audit", damage)
    with pytest.raises(WarehouseError, match=r"rows and bytes of .*\.parquet on the audit branch: \(1, "):
        load(warehouse, rows("b", "c"), 2)
    assert ids(warehouse) == [(P20, "a")]
    assert branches(warehouse) == ["main"]
    assert data_files(warehouse) == before
