"""Schemas alone: no file is needed, nor a row."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
from flight_shards import SCHEMA, Trained, good_table, write_parquet

import json2vec as j2v
from json2vec.contract import check_contract
from json2vec.profile.profile import profile_of


def test_check_contract_needs_no_files(trained: Trained) -> None:
    profile = profile_of(trained.values)
    assert profile is not None
    schema = j2v.Schema.from_dict(trained.values["schema"])
    assert [one for one in check_contract(SCHEMA, profile, schema) if one.severity != "info"] == []
    fewer = pa.schema([field for field in SCHEMA if field.name != "temp"])
    assert [(one.kind, one.where) for one in check_contract(fewer, profile, schema)] == [("missing", "temp")]


def test_parquet_schema_is_read_from_footers_alone(trained: Trained, tmp_path: Path) -> None:
    """The free half of the contract needs no row: it holds where the pages of a file are damaged."""
    table = good_table(1, 200).drop_columns(["temp"])
    write_parquet(tmp_path, table, files=1)
    path = tmp_path / "part-0.parquet"
    data = bytearray(path.read_bytes())
    data[100:200] = bytes(100)
    path.write_bytes(data)
    assert pq.ParquetFile(path).metadata.num_rows == 200
    assert [one.where for one in trained.check(tmp_path).of("error")] == ["temp"]
