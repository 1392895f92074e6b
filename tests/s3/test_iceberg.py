"""Iceberg tables in a bucket: the catalog is local, files and metadata are objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from j2v_dagster.warehouse.base import Loaded, WarehouseError
from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse
from json2vec.storage.opening import open_store

pytestmark = pytest.mark.slow
SCHEMA = pa.schema([("id", pa.string()), ("p", pa.float32())])


def load(warehouse: IcebergWarehouse, *ids: str, partition: str = "d1", rows: int | None = None) -> Loaded:
    batch = pa.RecordBatch.from_pydict({"id": list(ids), "p": [0.5] * len(ids)}, schema=SCHEMA)
    return warehouse.replace_partition(
        table="t", partition_column="partition", partition=partition, schema=SCHEMA, batches=[batch],
        rows=len(ids) if rows is None else rows,
    )  # fmt: skip


def warehouse(s3: Any, folder: Path, bucket: str, options: dict) -> IcebergWarehouse:
    properties = {
        "s3.endpoint": s3.endpoint, "s3.access-key-id": options["key"], "s3.secret-access-key": options["secret"],
        "s3.region": "us-east-1",
    }  # fmt: skip
    return IcebergWarehouse(folder, location=f"{bucket}/tables", properties=properties)


def test_a_table_in_a_bucket(s3: Any, tmp_path: Path) -> None:
    bucket = s3.bucket("iceberg")
    ours = warehouse(s3, tmp_path / "catalog", bucket, s3.options())
    assert load(ours, "a", "b") == Loaded(rows=2, replaced=0, created=True)
    assert load(ours, "c", partition="d/2 %") == Loaded(rows=1, replaced=0, created=False)
    assert load(ours, "d") == Loaded(rows=1, replaced=2, created=False)
    with pytest.raises(WarehouseError, match="1 rows arrived"):
        load(ours, "e", rows=2)
    with ours._open() as catalog:
        found = catalog.load_table("default.t").scan().to_arrow().sort_by("id")
        assert found.select(["id", "partition"]).to_pylist() == [
            {"id": "c", "partition": "d/2 %"}, {"id": "d", "partition": "d1"},
        ]  # fmt: skip
    paths = [one.path for one in open_store(f"{bucket}/tables", s3.options()).list()]
    assert sum(path.endswith(".parquet") for path in paths) == 3  # the refused load's file is gone
    assert sorted(path.name for path in (tmp_path / "catalog").iterdir()) == ["catalog.db", "catalog.lock"]


def test_credentials_that_may_not_write_are_refused_and_not_shown(s3: Any, tmp_path: Path) -> None:
    bucket = s3.bucket("iceberg-read-only")
    theirs = warehouse(s3, tmp_path / "catalog", bucket, s3.reader_options())
    with pytest.raises(WarehouseError, match="Nothing was changed") as caught:
        load(theirs, "a")
    assert "reader-secret" not in str(caught.value)
