"""The Iceberg loader: the contract of a warehouse, and what is Iceberg's own: write, audit, publish.

Readers of main see old rows or new ones, whatever happens in between.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from j2v_dagster.warehouse.base import Loaded, SchemaDrift, WarehouseError
from j2v_dagster.warehouse.build import build_warehouse
from j2v_dagster.warehouse.contract import DRIFTED, P20, P21, WarehouseContract, broken, load, rows
from j2v_dagster.warehouse.contract_values import TYPES, WHOLE
from j2v_dagster.warehouse.iceberg.audit_branch import AuditBranch
from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse


def look(warehouse: IcebergWarehouse, see: Callable[[Table], Any], table: str = "predictions") -> Any:
    """What a reader with a catalog of its own sees."""
    path = warehouse.path
    with closing(SqlCatalog("default", uri=f"sqlite:///{path}/catalog.db", warehouse=str(path))) as catalog:
        return see(catalog.load_table((*warehouse.namespace.split("."), table)))


def ids(warehouse: IcebergWarehouse) -> list[tuple[str, str]]:
    """Partition and id of every row of main."""
    found = look(warehouse, lambda table: table.scan(selected_fields=("partition", "id")).to_arrow().to_pylist())
    return sorted((row["partition"], row["id"]) for row in found)


def branches(warehouse: IcebergWarehouse) -> list[str]:
    return sorted(look(warehouse, lambda table: list(table.refs())))


def data_files(warehouse: IcebergWarehouse) -> set[str]:
    """Data files on disk."""
    return {str(path) for path in Path(str(warehouse.path)).rglob("*.parquet")}


def known_files(warehouse: IcebergWarehouse) -> set[str]:
    """Data files that some snapshot of the table knows."""

    def see(table: Table) -> set[str]:
        scans = [table.scan(snapshot_id=one.snapshot_id) for one in table.snapshots()]
        return {task.file.file_path for scan in scans for task in scan.plan_files()}

    return look(warehouse, see)


@pytest.fixture
def warehouse(tmp_path: Path) -> IcebergWarehouse:
    return IcebergWarehouse(tmp_path / "new folder" / "iceberg")


class TestIcebergWarehouse(WarehouseContract):
    pytestmark = pytest.mark.slow

    @pytest.fixture
    def config(self, tmp_path: Path) -> dict[str, Any]:
        return {"kind": "iceberg", "path": str(tmp_path / "new folder" / "iceberg"), "namespace": "s'; drop.x"}

    def read(self, warehouse: IcebergWarehouse, table: str) -> list[dict[str, Any]]:
        # By the files of main's snapshot: pyiceberg's own reader makes a null list of structs an empty one.
        paths = look(warehouse, lambda opened: [task.file.file_path for task in opened.scan().plan_files()], table)
        return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]

    def note(self, warehouse: IcebergWarehouse, table: str, partition: str) -> Mapping[str, str]:
        snapshots = look(warehouse, lambda opened: opened.snapshots(), table)
        summaries = [one.summary.additional_properties for one in snapshots]
        mine = [summary for summary in summaries if summary.get("j2v.partition") == partition]
        return {name.removeprefix("j2v."): value for name, value in mine[-1].items()}

    def check_nothing_is_left(self, warehouse: IcebergWarehouse, table: str) -> None:
        assert branches(warehouse) == ["main"]
        assert data_files(warehouse) == known_files(warehouse)


def test_a_partition_is_replaced_and_the_others_stay(warehouse: IcebergWarehouse) -> None:
    assert load(warehouse, rows("a", "b"), 2) == Loaded(rows=2, replaced=0, created=True)
    assert load(warehouse, rows("c"), 1, partition=P21) == Loaded(rows=1, replaced=0, created=False)
    assert load(warehouse, rows("d"), 1) == Loaded(rows=1, replaced=2, created=False)
    assert ids(warehouse) == [(P20, "d"), (P21, "c")]
    row = look(warehouse, lambda table: table.scan(row_filter="id == 'd'").to_arrow().to_pylist())
    assert row == [{"id": "d", "score": 0.5, "day": {"value": "late", "p": 0.25}, "partition": P20}]
    assert branches(warehouse) == ["main"]
    # Loading the same again equals loading it once.
    assert load(warehouse, rows("d"), 1) == Loaded(rows=1, replaced=1, created=False)
    assert ids(warehouse) == [(P20, "d"), (P21, "c")]


def test_each_load_is_one_snapshot_with_a_note(warehouse: IcebergWarehouse) -> None:
    note = {"attempt": "20260131T120000Z-9f86d081", "manifest_sha256": "ab" * 32}
    load(warehouse, rows("a"), 1)
    before = look(warehouse, lambda table: table.current_snapshot())
    load(warehouse, rows("b"), 1, note=note)
    after = look(warehouse, lambda table: table.current_snapshot())
    assert after.parent_snapshot_id == before.snapshot_id
    summary = after.summary.additional_properties
    assert {name: summary[name] for name in ("j2v.attempt", "j2v.manifest_sha256", "j2v.partition")} == {
        "j2v.attempt": note["attempt"], "j2v.manifest_sha256": note["manifest_sha256"], "j2v.partition": P20,
    }  # fmt: skip
    assert (summary["added-records"], summary["deleted-records"], summary["total-records"]) == ("1", "1", "1")
    # The rows from before are a snapshot away.
    old = look(warehouse, lambda table: table.scan(snapshot_id=before.snapshot_id).to_arrow()["id"].to_pylist())
    assert old == ["a"]


def test_another_number_of_rows_is_said_with_its_place(warehouse: IcebergWarehouse) -> None:
    with pytest.raises(WarehouseError, match=r"'2013-01-20': 2 rows arrived; expected the manifest's 3"):
        load(warehouse, rows("b", "c"), 3)
    assert (data_files(warehouse), branches(warehouse)) == (set(), ["main"])


def test_a_reader_that_fails_halfway_changes_nothing_and_leaves_no_file(warehouse: IcebergWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    before = data_files(warehouse)
    warehouse.file_bytes = 1  # a file a batch, so that one is whole and one is not begun

    with pytest.raises(WarehouseError, match=r"(?s)page checksum.*Nothing was changed"):
        load(warehouse, broken(OSError("rank-1.parquet: page checksum"), "b", "c"), 3)
    assert ids(warehouse) == [(P20, "a")]
    assert data_files(warehouse) == before


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[3].split(":")
import pyarrow as pa
from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse
from j2v_dagster.warehouse.iceberg.audit_branch import AuditBranch
day = pa.struct([("value", pa.string()), ("p", pa.float32())])
schema = pa.schema([("id", pa.string()), ("score", pa.float32()), ("day", day)])
def die(*_):
    print("killed", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
def batches():
    yield pa.RecordBatch.from_pylist([{"id": "new"}], schema=schema)
    if sys.argv[2] == "write":
        yield pa.RecordBatch.from_pylist([{"id": "new"}], schema=schema)
        die()
if sys.argv[2] == "publish":
    AuditBranch.fast_forward = die
IcebergWarehouse(sys.argv[1], file_bytes=1).replace_partition(
    table="predictions", partition_column="partition", partition="2013-01-20", schema=schema, batches=batches(), rows=1)
"""


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("moment", ["write", "publish"])
def test_a_load_killed_before_it_is_published_leaves_the_old_rows(warehouse: IcebergWarehouse, moment: str) -> None:
    load(warehouse, rows("a", "b"), 2)
    before = data_files(warehouse)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(warehouse.path), moment, ":".join(sys.path)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "killed\n", done.stderr
    assert done.returncode == -signal.SIGKILL
    assert ids(warehouse) == [(P20, "a"), (P20, "b")]
    assert len(data_files(warehouse) - before) == {"write": 2, "publish": 1}[moment]  # the dead load's
    assert (len(branches(warehouse)) == 2) == (moment == "publish")
    # The next load removes the branch, its snapshot and its files.
    load(warehouse, rows("c"), 1)
    assert ids(warehouse) == [(P20, "c")]
    assert branches(warehouse) == ["main"]
    assert (data_files(warehouse) == known_files(warehouse)) == (moment == "publish")


def test_a_name_that_cannot_be_is_refused(warehouse: IcebergWarehouse) -> None:
    with pytest.raises(WarehouseError, match="NUL"):
        load(warehouse, rows("a"), 1, table="a\0b")
    with pytest.raises(WarehouseError, match="empty"):
        load(warehouse, rows("a"), 1, table="")
    with pytest.raises(ValueError, match=r"namespace 'a\.\.b'"):
        IcebergWarehouse(warehouse.path, namespace="a..b")


def test_schema_drift_names_every_column_and_changes_nothing(warehouse: IcebergWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    before = look(warehouse, lambda table: table.metadata_location)
    with pytest.raises(SchemaDrift) as caught:
        load(warehouse, [], 0, schema=DRIFTED)
    message = str(caught.value)
    assert "column 'id' is string in the table and long in the predictions" in message
    assert "column 'label' (string) is not in the table" in message
    assert "the table's column 'score' (float) is not in the mapping" in message
    assert "struct<value: string, p: float, new: string>" in message
    assert "add column 'label'" in message
    with pytest.raises(SchemaDrift, match="not in the mapping"):
        load(warehouse, rows("a"), 1, column="other")
    assert look(warehouse, lambda table: table.metadata_location) == before


def test_a_table_with_another_partition_spec_is_refused(warehouse: IcebergWarehouse) -> None:
    load(warehouse, rows("a"), 1)

    def evolve(table: Table) -> None:
        with table.update_spec() as update:
            update.add_identity("id")

    look(warehouse, evolve)
    with pytest.raises(SchemaDrift, match="expected the identity of 'partition' alone"):
        load(warehouse, rows("b"), 1)
    assert ids(warehouse) == [(P20, "a")]


def test_pyiceberg_reads_the_widened_types_back(warehouse: IcebergWarehouse) -> None:
    values = [WHOLE, dict.fromkeys(TYPES.names)]
    load(warehouse, [pa.RecordBatch.from_pylist(values, schema=TYPES)], 2, schema=TYPES)
    read = look(warehouse, lambda table: table.scan().to_arrow())
    assert read["u64"].to_pylist() == [2**64 - 1, None]
    assert read["cell"].to_pylist() == [WHOLE["cell"], None]


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.time64("ns"), pa.date64(), pa.duration("s")])
def test_a_type_that_iceberg_has_not_is_refused_by_name(warehouse: IcebergWarehouse, kind: pa.DataType) -> None:
    schema = pa.schema([("id", pa.string()), ("when", pa.struct([("at", kind)]))])
    with pytest.raises(WarehouseError, match=r"column 'when\.at' is .*which Iceberg cannot hold without loss"):
        load(warehouse, [], 0, schema=schema)
    assert not Path(str(warehouse.path)).exists()


def test_rows_are_streamed_into_files_of_bounded_size(tmp_path: Path) -> None:
    warehouse = IcebergWarehouse(tmp_path / "w", file_bytes=2 * 2**20)
    schema = pa.schema([("x", pa.int64())])
    floor = pa.total_allocated_bytes()
    peak = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal peak
        for number in range(48):
            peak = max(peak, pa.total_allocated_bytes() - floor)
            yield pa.RecordBatch.from_arrays([pa.array(range(number * 2**17, (number + 1) * 2**17))], schema=schema)

    load(warehouse, batches(), 48 * 2**17, schema=schema)  # 48 MiB, and as much again for the partition column
    assert len(data_files(warehouse)) > 10
    assert peak < 24 * 2**20
    found = look(warehouse, lambda table: table.scan(row_filter="x == 3000000").to_arrow())
    assert found["x"].to_pylist() == [3_000_000]


# -- several writers ---------------------------------------------------------------------------------------------------


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


# -- from plain values -------------------------------------------------------------------------------------------------


def test_a_warehouse_comes_from_plain_values(tmp_path: Path) -> None:
    built = build_warehouse({"kind": "iceberg", "path": str(tmp_path / "x"), "namespace": "ml"})
    assert isinstance(built, IcebergWarehouse)
    assert built.uri("t") == f"iceberg://{tmp_path / 'x'}/ml/t"
    assert build_warehouse(built) is built
    named = build_warehouse({"kind": "iceberg", "catalog": "prod", "uri": "https://user:secret@example.invalid"})
    assert named.uri("t") == "iceberg://prod/default/t"
    with pytest.raises(ValueError, match=r"path .* or uri, not both"):
        build_warehouse({"kind": "iceberg", "path": "x", "uri": "sqlite:///y"})
    with pytest.raises(ValueError, match="at least 1"):
        build_warehouse({"kind": "iceberg", "path": "x", "file_bytes": 0})
    with pytest.raises(TypeError, match="pfad"):
        build_warehouse({"kind": "iceberg", "pfad": "x"})
    with pytest.raises(ValueError, match="kind: iceberg") as caught:
        build_warehouse({"kind": "oracle", "uri": "https://user:secret@example.invalid"})
    assert "secret" not in str(caught.value)


def test_a_catalog_that_cannot_be_reached_is_an_error_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WarehouseError, match=r"predictions, partition '2013-01-20': .*file"):
        load(IcebergWarehouse(tmp_path / "file"), rows("a"), 1)
    absent = IcebergWarehouse(uri="nonsense://user:secret@host", catalog="prod")
    with pytest.raises(WarehouseError, match="iceberg://prod/default/predictions") as caught:
        load(absent, rows("a"), 1)
    assert "secret" not in str(caught.value)


def test_a_named_catalog_takes_uri_location_and_properties(tmp_path: Path) -> None:
    warehouse = IcebergWarehouse(
        uri=f"sqlite:///{tmp_path}/my.db", location=str(tmp_path / "files"), catalog="mine",
        properties={"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO"},
    )  # fmt: skip
    load(warehouse, rows("a"), 1)
    assert len(list((tmp_path / "files").rglob("*.parquet"))) == 1
    with closing(SqlCatalog("mine", uri=f"sqlite:///{tmp_path}/my.db")) as catalog:
        assert catalog.load_table("default.predictions").scan().to_arrow()["id"].to_pylist() == ["a"]
