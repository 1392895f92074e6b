"""The Iceberg loader: write, audit, publish; readers of main see old rows or new ones, whatever happens in between."""

from __future__ import annotations

import datetime
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from j2v_dagster.warehouse.iceberg.audit_branch import AuditBranch
from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse

SCHEMA = pa.schema(
    [("id", pa.string()), ("score", pa.float32()), ("day", pa.struct([("value", pa.string()), ("p", pa.float32())]))]
)
P20, P21 = "2013-01-20", "2013-01-21"


def rows(*ids: str) -> list[pa.RecordBatch]:
    """One batch an id."""
    return [
        pa.RecordBatch.from_pylist([{"id": one, "score": 0.5, "day": {"value": "late", "p": 0.25}}], schema=SCHEMA)
        for one in ids
    ]


def load(
    warehouse: IcebergWarehouse,
    batches: Iterable[pa.RecordBatch],
    count: int,
    *,
    table: str = "predictions",
    partition: str = P20,
    schema: pa.Schema = SCHEMA,
    column: str = "partition",
    note: Mapping[str, str] | None = None,
) -> Loaded:
    return warehouse.replace_partition(
        table=table, partition_column=column, partition=partition, schema=schema, batches=batches, rows=count, note=note
    )


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


def test_an_empty_partition_loads_as_no_rows(warehouse: IcebergWarehouse) -> None:
    assert load(warehouse, [], 0) == Loaded(rows=0, replaced=0, created=True)
    assert ids(warehouse) == []
    load(warehouse, rows("a"), 1)
    load(warehouse, rows("b"), 1, partition=P21)
    assert load(warehouse, [], 0) == Loaded(rows=0, replaced=1, created=False)
    assert ids(warehouse) == [(P21, "b")]


def test_another_number_of_rows_changes_nothing_and_leaves_nothing(warehouse: IcebergWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    before = data_files(warehouse)
    with pytest.raises(WarehouseError, match=r"'2013-01-20': 2 rows arrived; expected the manifest's 3"):
        load(warehouse, rows("b", "c"), 3)
    assert ids(warehouse) == [(P20, "a")]
    assert data_files(warehouse) == before
    assert branches(warehouse) == ["main"]


def test_a_reader_that_fails_halfway_changes_nothing(warehouse: IcebergWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    before = data_files(warehouse)
    warehouse.file_bytes = 1  # a file a batch, so that one is whole and one is not begun

    def broken() -> Iterator[pa.RecordBatch]:
        yield from rows("b", "c")
        raise OSError("rank-1.parquet: page checksum")

    with pytest.raises(WarehouseError, match=r"(?s)page checksum.*Nothing was changed"):
        load(warehouse, broken(), 3)
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


def test_names_and_keys_are_only_names(tmp_path: Path) -> None:
    warehouse = IcebergWarehouse(tmp_path / "w", namespace="s'; drop.x")
    table, column = '../../t"; drop table x;--', 'part"ition'
    keys = ["o'x'; drop table x;--", "../x", "a/b", "%2e%2e", "x == 'y' or 1 == 1", "ü" * 90, "#?&=+ "]
    schema = pa.schema([('a"b', pa.int64()), ("select", pa.int64()), ("x.y", pa.int64())])
    batch = pa.RecordBatch.from_pydict({'a"b': [1], "select": [2], "x.y": [3]}, schema=schema)
    for key in [*keys, *keys]:
        load(warehouse, [batch], 1, table=table, partition=key, schema=schema, column=column)
    found = look(warehouse, lambda opened: opened.scan().to_arrow().to_pylist(), table)
    assert sorted(found, key=str) == sorted(
        ({'a"b': 1, "select": 2, "x.y": 3, column: key} for key in keys), key=str
    )
    assert {path.name for path in tmp_path.iterdir()} == {"w"}


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
    drifted = pa.schema(
        [
            ("id", pa.int64()),
            ("label", pa.string()),
            ("day", pa.struct([("value", pa.string()), ("p", pa.float32()), ("new", pa.string())])),
        ]
    )
    with pytest.raises(SchemaDrift) as caught:
        load(warehouse, [], 0, schema=drifted)
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


def test_columns_may_stand_in_another_order_in_the_table(warehouse: IcebergWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    turned = pa.schema(list(reversed(list(SCHEMA))))
    load(warehouse, [batch.select(turned.names) for batch in rows("b")], 1, schema=turned, partition=P21)
    assert ids(warehouse) == [(P20, "a"), (P21, "b")]


def test_every_value_arrives_as_it_was(warehouse: IcebergWarehouse) -> None:
    slot = pa.struct([("x", pa.uint8()), ("names", pa.list_(pa.string()))])
    schema = pa.schema(
        {
            "big": pa.uint64(), "u32": pa.uint32(), "i16": pa.int16(), "half": pa.float16(), "flag": pa.bool_(),
            "cell": pa.struct([("slots", pa.list_(slot)), ("m", pa.map_(pa.string(), pa.float32()))]),
            "at": pa.timestamp("ms", tz="Europe/Berlin"), "day": pa.date32(), "raw": pa.binary(),
            "fixed": pa.list_(pa.float32(), 2), "text": pa.dictionary(pa.int32(), pa.string()),
        }
    )  # fmt: skip
    at = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
    whole = {
        "big": 2**64 - 1, "u32": 2**32 - 1, "i16": -7, "half": 0.5, "flag": True, "at": at, "raw": b"\0x",
        "cell": {"slots": [{"x": 255, "names": ["a", None]}, None, {"x": None, "names": None}], "m": [("k", 1.0)]},
        "day": at.date(), "fixed": [1.0, 2.0], "text": "t",
    }  # fmt: skip
    # pyiceberg's own writer and reader make a null list of structs an empty one; the files must not.
    null_list = dict.fromkeys(schema.names) | {"cell": {"slots": None, "m": []}}
    values = [whole, dict.fromkeys(schema.names), null_list, whole | {"cell": {"slots": [], "m": None}}]
    load(warehouse, [pa.RecordBatch.from_pylist(values, schema=schema)], 4, schema=schema)
    (path,) = data_files(warehouse)
    assert [{k: v for k, v in row.items() if k != "partition"} for row in pq.ParquetFile(path).read().to_pylist()] == [
        {**one, "big": one["big"] and int(one["big"])} for one in values
    ]
    read = look(warehouse, lambda table: table.scan().to_arrow())
    assert read["big"].to_pylist() == [2**64 - 1, None, None, 2**64 - 1]
    assert read["cell"].to_pylist()[0] == whole["cell"]
    assert read["cell"].to_pylist()[1] is None


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


def test_loads_of_several_partitions_at_once_all_arrive(warehouse: IcebergWarehouse) -> None:
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(3):
                load(warehouse, rows(f"id{number}"), 1, partition=f"p{number}")
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ids(warehouse) == [("p0", "id0"), ("p1", "id1"), ("p2", "id2")]
    assert branches(warehouse) == ["main"]
    assert data_files(warehouse) == known_files(warehouse)


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
