"""Delta tables as inputs: what their log says of a version is what is read. deltalake makes the tables."""

from __future__ import annotations

import json
import random
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import lightning.pytorch as lit
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import json2vec as j2v
from json2vec.errors import ReadError, SnapshotChanged
from json2vec.reading.plain import plain_schema
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import Snapshot
from json2vec.reading.tables import snapshot_table, table_files
from json2vec.storage.opening import open_store

ORDERS = pa.table(
    {"id": [1, 2, 3], "day": ["a b", "ü/%", None], "on": [date(2024, 1, 1)] * 3, "v": [1.0, None, 3.0]},
)


def rows_of(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Every row, read again from the JSON that a job or a manifest keeps of the snapshot."""
    again = Snapshot.from_json(json.loads(json.dumps(snapshot.to_json())))
    assert (again, again.digest, again.schema) == (snapshot, snapshot.digest, snapshot.schema)
    batches = read_rows(again, open_store(snapshot.root), [(0, snapshot.rows)], batch_size=2)
    return sorted((row for batch in batches for row in batch.inputs.to_pylist()), key=lambda row: row["id"])


def theirs(root: Path, version: int | None = None) -> list[dict[str, Any]]:
    """The rows as deltalake itself reads them."""
    table = deltalake.DeltaTable(str(root), version=version).to_pyarrow_table()
    return sorted(table.to_pylist(), key=lambda row: row["id"])


def test_the_rows_are_those_that_delta_reads_whatever_else_lies_there(tmp_path: Path) -> None:
    root = tmp_path / "a b" / "orders"
    root.parent.mkdir()
    deltalake.write_deltalake(str(root), ORDERS, partition_by=["day", "on"])
    deltalake.write_deltalake(str(root), ORDERS.slice(1), mode="overwrite")
    deltalake.write_deltalake(str(root), ORDERS.slice(0, 1), mode="append")
    assert len(list(root.rglob("*.parquet"))) == 6
    for version in (0, 1, 2, None):
        snapshot = snapshot_table(root, "delta", version)
        assert rows_of(snapshot) == theirs(root, version)
        assert snapshot.table is not None
        assert snapshot.table.version == (2 if version is None else version)


def test_columns_come_and_go(tmp_path: Path) -> None:
    """Schema evolution: a file from before a column was added has nulls in it, and the table's type counts."""
    root = tmp_path / "orders"
    deltalake.write_deltalake(str(root), pa.table({"id": [1], "v": pa.array([1], pa.int32())}))
    more = pa.table({"id": [2], "v": pa.array([2], pa.int32()), "new": [{"deep": [1.5]}]})
    deltalake.write_deltalake(str(root), more, mode="append", schema_mode="merge")
    assert rows_of(snapshot_table(root, "delta")) == theirs(root)
    deltalake.write_deltalake(str(root), pa.table({"id": [3]}), mode="overwrite", schema_mode="overwrite")
    assert rows_of(snapshot_table(root, "delta")) == [{"id": 3}]
    assert rows_of(snapshot_table(root, "delta", 1)) == theirs(root, 1)


PARTITIONED = {
    "text": pa.array(["", "x", None]),
    "integer": pa.array([-1, 2**40, None]),
    "short": pa.array([1, 2, None], pa.int8()),
    "float": pa.array([0.5, -2.25, None]),
    "bool": pa.array([True, False, None]),
    "date": pa.array([date(1, 1, 1), date(2024, 2, 29), None]),
    "time": pa.array([datetime(2024, 1, 1, 12, 30, 1, 5), datetime(1969, 12, 31), None], pa.timestamp("us", "UTC")),
    "naive": pa.array([datetime(2024, 1, 1, 12, 30, 1, 5), datetime(1969, 12, 31), None], pa.timestamp("us")),
    "decimal": pa.array([Decimal("1.50"), Decimal("99999.99"), None], pa.decimal128(7, 2)),
}


@pytest.mark.parametrize("kind", PARTITIONED)
def test_partition_columns_of_every_type(kind: str, tmp_path: Path) -> None:
    root = tmp_path / "t"
    table = pa.table({"id": [1, 2, 3], "p": PARTITIONED[kind]})
    deltalake.write_deltalake(str(root), table, partition_by=["p"])
    snapshot = snapshot_table(root, "delta")
    assert "p" not in pq.read_schema(next(root.rglob("*.parquet"))).names
    assert rows_of(snapshot) == theirs(root)
    assert snapshot.schema.field("p").type == plain_schema(table.schema).field("p").type


def test_random_histories(tmp_path: Path) -> None:
    """Whatever was appended, overwritten, deleted, updated and optimized: each version is as Delta says."""
    chance = random.Random(3)
    root, versions = str(tmp_path / "t"), 0
    deltalake.write_deltalake(root, pa.table({"id": [0], "p": ["x"], "v": [0.0]}), partition_by=["p"])
    for step in range(12):
        n = chance.randint(1, 4)
        some = pa.table({"id": [step * 10 + i for i in range(1, n + 1)], "p": chance.choices("xyz", k=n),
                         "v": [chance.random()] * n})  # fmt: skip
        table = deltalake.DeltaTable(root)
        action = chance.choice(["append", "append", "overwrite", "delete", "update", "optimize"])
        if action in ("append", "overwrite"):
            deltalake.write_deltalake(root, some, mode=action)
        elif action == "delete":
            table.delete("v > 0.7")
        elif action == "update":
            table.update({"v": "v + 1.0"}, predicate="p = 'x'")
        else:
            table.optimize.compact()
    versions = deltalake.DeltaTable(root).version()
    assert versions > 6
    for version in range(versions + 1):
        expected = theirs(Path(root), version)
        if not expected:
            with pytest.raises(ReadError, match=f"version {version} of the delta table has no file"):
                snapshot_table(root, "delta", version)
            continue
        assert rows_of(snapshot_table(root, "delta", version)) == expected


def test_the_values_of_the_log_enter_the_digest_and_the_version_does_not(tmp_path: Path) -> None:
    root = tmp_path / "t"
    deltalake.write_deltalake(str(root), ORDERS, partition_by=["day"])
    before = snapshot_table(root, "delta")
    deltalake.DeltaTable(str(root)).alter.set_table_properties({"delta.logRetentionDuration": "interval 90 days"})
    after = snapshot_table(root, "delta")
    assert after.table is not None
    assert (after.table.version, after.digest) == (1, before.digest)
    log = root / "_delta_log" / "00000000000000000000.json"
    log.write_text(log.read_text().replace('"partitionValues":{"day":"a b"}', '"partitionValues":{"day":"c"}'))
    assert snapshot_table(root, "delta", 0).digest != before.digest


def test_some_of_the_partitions(tmp_path: Path) -> None:
    root = tmp_path / "t"
    deltalake.write_deltalake(str(root), ORDERS, partition_by=["day", "on"])
    some = snapshot_table(root, "delta", where={"day": "ü/%", "on": "2024-01-01"})
    assert [row["id"] for row in rows_of(some)] == [2]
    with pytest.raises(ReadError, match=r"not partitioned by 'Day'.*\['day', 'on'\]"):
        snapshot_table(root, "delta", where={"Day": "a"})
    with pytest.raises(ReadError, match="'soon' is no value of the partition column 'on', date32"):
        snapshot_table(root, "delta", where={"on": "soon"})
    with pytest.raises(ReadError, match=r"version 0 of the delta table has no file where \{'day': 'b'\}"):
        snapshot_table(root, "delta", where={"day": "b"})


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"(?s)cannot be opened as a Delta table.*folder above _delta_log"):
        snapshot_table(tmp_path / "absent", "delta")
    root = tmp_path / "t"
    deltalake.write_deltalake(str(root), ORDERS)
    with pytest.raises(ReadError, match="at version 7"):
        snapshot_table(root, "delta", 7)
    with pytest.raises(ReadError, match="kind of table 'detla' is unknown"):
        snapshot_table(root, "detla")  # type: ignore[arg-type]
    file = next(root.glob("*.parquet"))
    pq.write_table(ORDERS.slice(1), file)
    with pytest.raises(ReadError, match="has 2 rows; the log of the delta table says 3"):
        snapshot_table(root, "delta")
    file.unlink()
    with pytest.raises(ReadError, match="does not exist"):
        snapshot_table(root, "delta")


def commit(root: Path, *actions: dict[str, Any]) -> None:
    """Add a version to the log by hand, of what deltalake does not write itself."""
    version = deltalake.DeltaTable(str(root)).version() + 1
    text = "\n".join(json.dumps(action) for action in actions) + "\n"
    (root / "_delta_log" / f"{version:020d}.json").write_text(text)


def protocol(*features: str) -> dict[str, Any]:
    return {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": list(features),
                         "writerFeatures": list(features)}}  # fmt: skip


def actions_of(root: Path, name: str) -> dict[str, Any]:
    lines = (root / "_delta_log" / f"{0:020d}.json").read_text().splitlines()
    return next(json.loads(line) for line in lines if name in json.loads(line))


def test_deletion_vectors_are_refused_and_a_table_that_only_allows_them_is_not(tmp_path: Path) -> None:
    root = tmp_path / "t"
    deltalake.write_deltalake(str(root), ORDERS)
    commit(root, protocol("deletionVectors"))
    assert rows_of(snapshot_table(root, "delta")) == ORDERS.to_pylist()
    add = actions_of(root, "add")
    removed = {"remove": {"path": add["add"]["path"], "deletionTimestamp": 1, "dataChange": True}}
    # The vector of Delta's specification: rows 3, 4, 7, 11, 18, 29, inline. Only row 3 would be too far, so keep 0, 2.
    add["add"]["deletionVector"] = {
        "storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", "sizeInBytes": 40,
        "cardinality": 6,
    }  # fmt: skip
    commit(root, removed, add)
    with pytest.raises(ReadError, match=r"version 2 .* deletion vectors.*REORG TABLE"):
        snapshot_table(root, "delta")
    assert rows_of(snapshot_table(root, "delta", 1)) == ORDERS.to_pylist()


def test_mapped_columns_and_unknown_features_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "t"
    deltalake.write_deltalake(str(root), pa.table({"id": [1]}))
    metadata = actions_of(root, "metaData")
    metadata["metaData"]["configuration"] = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "1"}
    schema = json.loads(metadata["metaData"]["schemaString"])
    schema["fields"][0]["metadata"] = {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-1"}
    metadata["metaData"]["schemaString"] = json.dumps(schema)
    commit(root, protocol("columnMapping"), metadata)
    with pytest.raises(ReadError, match="mapped by name"):
        snapshot_table(root, "delta")
    commit(root, protocol("columnMapping", "aFeatureOfTomorrow"))
    with pytest.raises(ReadError, match=r"aFeatureOfTomorrow"):
        snapshot_table(root, "delta")


def test_a_file_outside_of_the_table_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "t"
    deltalake.write_deltalake(str(root), ORDERS)
    add = actions_of(root, "add")
    add["add"]["path"] = f"file://{tmp_path}/elsewhere.parquet"
    commit(root, add)
    with pytest.raises(ReadError, match="shallow clone"):
        table_files(open_store(root), "delta")


def test_a_prediction_of_a_table_end_to_end(tmp_path: Path) -> None:
    """Predicted under a real Trainer, verified, and refused once a file was written again."""
    root, out = tmp_path / "orders", tmp_path / "out"
    deltalake.write_deltalake(str(root), ORDERS, partition_by=["day"])
    deltalake.write_deltalake(str(root), ORDERS.slice(0, 2), mode="overwrite")
    model = j2v.Model.from_schema(
        j2v.Number("v"), j2v.Category("day"), j2v.Number("y", target=True), d_model=16, n_layers=1, n_heads=2,
        batch_size=4,
    ).eval()  # fmt: skip
    orders = j2v.snapshot_table(root, "delta")
    data = j2v.StreamingDataModule(model=model, root=orders.root, suffix="parquet", predict=orders)
    trainer = lit.Trainer(
        accelerator="cpu", callbacks=[j2v.Writer(str(out))], logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.predict(model, datamodule=data, return_predictions=False)
    inputs = j2v.read_predictions(out).collect()["inputs"].to_list()
    assert sorted(inputs, key=lambda row: row["id"]) == theirs(root)
    report = j2v.verify_predictions(out, model=model)
    assert report.passed, report.summary()
    pq.write_table(pa.table({"id": [9], "on": [date(2024, 1, 1)], "v": [9.0]}), root / orders.path(0))
    with pytest.raises(SnapshotChanged):
        trainer.predict(model, datamodule=data, return_predictions=False)
