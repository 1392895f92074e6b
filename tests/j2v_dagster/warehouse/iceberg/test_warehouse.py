"""The Iceberg loader: the contract of a warehouse, and what is Iceberg's own: write, audit, publish.

Readers of main see old rows or new ones, whatever happens in between.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from iceberg_tables import branches, data_files, ids, known_files, look
from pyiceberg.catalog.sql import SqlCatalog

from j2v_dagster.warehouse.base import Loaded, WarehouseError
from j2v_dagster.warehouse.build import build_warehouse
from j2v_dagster.warehouse.contract import P20, P21, WarehouseContract, load, rows
from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse


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
