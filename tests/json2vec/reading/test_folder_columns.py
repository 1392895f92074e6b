"""Columns made of folder names: columns like any other, for every format."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from snapped import snap

from json2vec.errors import ReadError
from json2vec.reading.folder_columns import folder_values
from json2vec.reading.options import read_options
from json2vec.reading.readers import read_rows
from json2vec.reading.row_hash import row_hash
from json2vec.storage.local import LocalStore


def write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".parquet":
            pq.write_table(table, path)
        case ".feather":
            pyarrow.feather.write_feather(table, path)
        case ".orc":
            pyarrow.orc.write_table(table, path)
        case ".csv":
            pyarrow.csv.write_csv(table, path)
        case ".avro":
            fastavro = pytest.importorskip("fastavro")
            kinds = {"int64": "long", "string": "string"}
            fields = [{"name": f.name, "type": ["null", kinds[str(f.type)]]} for f in table.schema]
            with path.open("wb") as file:
                fastavro.writer(file, {"type": "record", "name": "row", "fields": fields}, table.to_pylist())
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


def rows(root: Path, suffix: str, names: list[str], **options: Any) -> list[dict[str, Any]]:
    store = LocalStore(root)
    made = snap(root, suffix, options=read_options(suffix, folder_columns=names), **options)
    found = []
    for batch in read_rows(made, store, [(0, made.rows)], batch_size=100):
        assert batch.source.field("hash").to_pylist() == row_hash(batch.inputs).tolist()
        found += batch.inputs.to_pylist()
    return found


@pytest.mark.parametrize("suffix", ["parquet", "feather", "orc", "csv", "ndjson", "avro"])
def test_every_format_takes_columns_of_its_folders(tmp_path: Path, suffix: str) -> None:
    write(pa.table({"id": [1, 2]}), tmp_path / "dt=2024-01-01" / "region=eu" / f"a.{suffix}")
    write(pa.table({"id": [3]}), tmp_path / "dt=2024-01-02" / "region=a%2Fb" / f"a.{suffix}")
    write(pa.table({"id": [4]}), tmp_path / "dt=2024-01-02" / "region=__HIVE_DEFAULT_PARTITION__" / f"a.{suffix}")
    assert rows(tmp_path, suffix, []) == [{"id": 1}, {"id": 2}, {"id": 4}, {"id": 3}]
    assert rows(tmp_path, suffix, ["region", "dt"]) == [
        {"id": 1, "region": "eu", "dt": "2024-01-01"}, {"id": 2, "region": "eu", "dt": "2024-01-01"},
        {"id": 4, "region": None, "dt": "2024-01-02"}, {"id": 3, "region": "a/b", "dt": "2024-01-02"},
    ]  # fmt: skip
    schema = pa.schema([("dt", pa.date32()), ("id", pa.int64())])
    assert rows(tmp_path, suffix, ["dt"], input_schema=schema)[0] == {"dt": datetime.date(2024, 1, 1), "id": 1}
    below = tmp_path / "dt=2024-01-01"  # the root of one partition: its own name counts
    assert [row["dt"] for row in rows(below, suffix, ["dt"])] == ["2024-01-01"] * 2


@pytest.mark.parametrize("suffix", ["parquet", "feather", "orc", "csv", "ndjson", "avro"])
def test_a_file_may_say_the_same_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    write(pa.table({"id": [1, 2, 3], "r": ["eu", None, "eu"]}), tmp_path / "r=eu" / f"a.{suffix}")
    assert [row["r"] for row in rows(tmp_path, suffix, ["r"])] == ["eu"] * 3
    write(pa.table({"id": [1, 2], "r": ["eu", "us"]}), tmp_path / "r=eu" / f"b.{suffix}")
    with pytest.raises(ReadError, match=rf"b\.{suffix}: row 1: column 'r' is 'us' in the file; its folder says 'eu'"):
        rows(tmp_path, suffix, ["r"])
    assert [row["r"] for row in rows(tmp_path, suffix, [])][-2:] == ["eu", "us"]  # the remedy


def test_a_column_of_numbers_in_the_file_decides_the_type(tmp_path: Path) -> None:
    write(pa.table({"id": [1, 2], "hour": [7, 7]}), tmp_path / "hour=07" / "a.parquet")
    assert rows(tmp_path, "parquet", ["hour"]) == [{"id": 1, "hour": 7}, {"id": 2, "hour": 7}]
    write(pa.table({"id": [1], "hour": [7]}), tmp_path / "hour=x" / "a.parquet")
    with pytest.raises(ReadError, match=r"row 0: column 'hour' of its folder is 'x'; expected a value that int64"):
        rows(tmp_path, "parquet", ["hour"])
    schema = pa.schema([("id", pa.int64()), ("hour", pa.string())])
    with pytest.raises(ReadError, match="column 'hour' is '7' in the file; its folder says '07'"):
        rows(tmp_path, "parquet", ["hour"], input_schema=schema)


def test_a_file_outside_of_such_a_folder_is_named(tmp_path: Path) -> None:
    write(pa.table({"id": [1]}), tmp_path / "dt=1" / "a.parquet")
    write(pa.table({"id": [1]}), tmp_path / "b.parquet")
    with pytest.raises(ReadError, match=r"b\.parquet: no folder of it is called dt=\.\.\..*Remedy"):
        rows(tmp_path, "parquet", ["dt"])
    with pytest.raises(ReadError, match="folder_columns= names 'dt', which input_schema= has not"):
        rows(tmp_path / "dt=1", "parquet", ["dt"], input_schema=pa.schema([("id", pa.int64())]))


def test_the_nearest_folder_wins() -> None:
    assert folder_values("s3://b/a=1/x/a=2/b=c=d/f.csv", ["a", "b"]) == {"a": "2", "b": "c=d"}
