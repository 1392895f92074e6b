"""Folders of Delta, Iceberg and Hudi tables are no folders of files. The tables are made by their own libraries."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from json2vec.errors import ReadError, StoreError
from json2vec.reading.lake_tables import table_above
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore
from json2vec.storage.opening import open_store

ROWS = pa.table({"id": [1, 2], "day": ["a", "b"], "v": [1.0, 2.0]})


def delta(folder: Path) -> Path:
    deltalake.write_deltalake(str(folder), ROWS, partition_by=["day"])
    deltalake.write_deltalake(str(folder), ROWS.slice(1), mode="overwrite")
    return folder


def iceberg(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog("c", uri=f"sqlite:///{folder.parent}/catalog.db", warehouse=f"file://{folder.parent}")
    catalog.create_namespace("ns")
    table = catalog.create_table("ns.t", schema=ROWS.schema, location=f"file://{folder}")
    table.append(ROWS)
    table.overwrite(ROWS.slice(1))
    return folder


def hudi(folder: Path) -> Path:
    (folder / ".hoodie").mkdir(parents=True)
    (folder / ".hoodie" / "hoodie.properties").write_text("hoodie.table.name=t\n")
    pq.write_table(ROWS, folder / "old.parquet")
    pq.write_table(ROWS, folder / "new.parquet")
    return folder


MADE = {"Delta": delta, "Iceberg": iceberg, "Hudi": hudi}
PLACES = ["the table", "a folder of it", "a folder above"]


def rows_of(root: Path, **options: Any) -> int:
    return snapshot_files(open_store(root), "parquet", **options).rows


@pytest.mark.parametrize(("kind", "root"), list(itertools.product(MADE, PLACES)))
def test_the_folder_of_a_table_is_refused_from_wherever_it_is_reached(kind: str, root: str, tmp_path: Path) -> None:
    folder = MADE[kind](tmp_path / "lake" / "orders")
    if kind == "Hudi":
        (folder / "day=a").mkdir()
        pq.write_table(ROWS, folder / "day=a" / "x.parquet")
    inner = {"Delta": "day=b", "Iceberg": "data", "Hudi": "day=a"}[kind]
    start = {"the table": folder, "a folder of it": folder / inner, "a folder above": tmp_path / "lake"}[root]
    with pytest.raises(ReadError, match=f"{folder} is the folder of an? {kind} table.*lake_tables='files'"):
        rows_of(start)
    assert rows_of(start, lake_tables="files") >= 1


@pytest.mark.parametrize("kind", MADE)
def test_a_pattern_that_does_not_reach_the_table_is_not_refused(kind: str, tmp_path: Path) -> None:
    MADE[kind](tmp_path / "lake" / "orders")
    (tmp_path / "lake" / "plain").mkdir()
    pq.write_table(ROWS, tmp_path / "lake" / "plain" / "a.parquet")
    assert rows_of(tmp_path / "lake", match=r"/plain/.*\.parquet$") == 2
    assert rows_of(tmp_path / "lake" / "plain") == 2


def test_folders_that_only_look_like_it_are_no_tables(tmp_path: Path) -> None:
    for name in ("metadata/schema.json", "my_delta_log/0.json", "x.hoodie/a", "metadata/deep/a.metadata.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "in").mkdir()
    pq.write_table(ROWS, tmp_path / "in" / "a.parquet")
    assert rows_of(tmp_path) == rows_of(tmp_path / "in") == 2


def test_a_link_into_a_table_is_seen_through(tmp_path: Path) -> None:
    folder = delta(tmp_path / "orders")
    (tmp_path / "elsewhere").symlink_to(folder / "day=b")
    with pytest.raises(ReadError, match="Delta table"):
        rows_of(tmp_path / "elsewhere")


def test_files_that_are_named_are_taken(tmp_path: Path) -> None:
    folder = delta(tmp_path / "orders")
    name = next(path.relative_to(folder) for path in folder.rglob("*.parquet"))
    assert rows_of(folder, paths=[str(name)]) == 1


def test_a_folder_above_that_may_not_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = delta(tmp_path / "orders")

    def refuse(self: Any, prefix: str = "", *, after: str = "") -> Any:
        raise StoreError("AccessDenied")

    monkeypatch.setattr(LocalStore, "list", refuse)
    assert table_above(LocalStore(folder / "day=a")) is None
