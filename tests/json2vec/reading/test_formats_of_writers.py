"""Random tables written by every writer at hand: our reader gives their values, and the second reader says so too.

Values are compared, not types: a writer may store a date as a time. What a writer cannot write is left out, with the
reason, in `WITHOUT`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import fastparquet
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pyorc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from json2vec.enums import Suffix
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore
from json2vec.verify.same_value import plain_value, same
from json2vec.verify.second_readers import SECOND_READERS
from json2vec.verify.second_readers.nearby import Nearby, NotCompared
from json2vec.verify.second_readers.reader import Options

FIRST, LAST = datetime(1900, 1, 1), datetime(2200, 1, 1)
ITEM = pa.struct([("n", pa.int64()), ("t", pa.string())])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5) | st.sampled_from(
    ["", "\0", "a,b", '"', "x\ny", "ä€😀", "NA", " "]
)
LONGS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**53 + 1, -(2**63), 0])
ITEMS = st.fixed_dictionaries({"n": st.none() | LONGS, "t": st.none() | TEXTS})
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int64": (pa.int64(), LONGS),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "float": (pa.float32(), st.floats(width=32)),
    "double": (pa.float64(), st.floats() | st.sampled_from([-0.0, math.nan, math.inf, 5e-324])),
    "decimal": (pa.decimal128(20, 3), st.decimals(-(10**16), 10**16, places=3)),
    "text": (pa.string(), TEXTS),
    "bool": (pa.bool_(), st.booleans()),
    "date": (pa.date32(), st.dates(FIRST.date(), LAST.date())),
    "micros": (pa.timestamp("us"), st.datetimes(FIRST, LAST)),
    "nanos": (pa.timestamp("ns"), st.integers(-(2**62), 2**62)),
    "zoned": (pa.timestamp("us", "Europe/Berlin"), st.datetimes(FIRST, LAST, timezones=st.just(UTC))),
    "time": (pa.time64("us"), st.times()),
    "binary": (pa.binary(), st.binary(max_size=4)),
    "list": (pa.list_(pa.int64()), st.lists(st.none() | LONGS, max_size=3)),
    "items": (pa.list_(ITEM), st.lists(st.none() | ITEMS, max_size=2)),
    "struct": (pa.struct([("x", pa.float64()), ("y", pa.list_(pa.string()))]),
               st.fixed_dictionaries({"x": st.none() | st.floats(), "y": st.none() | st.lists(TEXTS, max_size=2)})),
}  # fmt: skip


def of_duckdb(table: pa.Table, path: Path, options: str) -> None:
    with duckdb.connect() as database:
        database.register("given", table)
        database.execute("set TimeZone = 'UTC'")
        database.execute(f"copy (select * from given) to '{path}' ({options})")


def of_fastparquet(table: pa.Table, path: Path) -> None:
    fastparquet.write(str(path), table.to_pandas(), write_index=False, object_encoding="infer")


AVRO: dict[str, Any] = {
    "int8": "int", "int64": "long", "float": "float", "double": "double", "text": "string", "bool": "boolean",
    "decimal": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3},
    "date": {"type": "int", "logicalType": "date"},
    "micros": {"type": "long", "logicalType": "local-timestamp-micros"},
    "zoned": {"type": "long", "logicalType": "timestamp-micros"},
    "time": {"type": "long", "logicalType": "time-micros"},
    "binary": "bytes", "list": {"type": "array", "items": ["null", "long"]},
    "items": {"type": "array", "items": ["null", {"type": "record", "name": "item", "fields": [
        {"name": "n", "type": ["null", "long"]}, {"name": "t", "type": ["null", "string"]}]}]},
    "struct": {"type": "record", "name": "pair", "fields": [
        {"name": "x", "type": ["null", "double"]},
        {"name": "y", "type": ["null", {"type": "array", "items": ["null", "string"]}]}]},
}  # fmt: skip


def of_fastavro(table: pa.Table, path: Path) -> None:
    fields = [{"name": name, "type": ["null", AVRO[name.partition("_")[0]]]} for name in table.column_names]
    with open(path, "wb") as file:
        fastavro.writer(file, {"type": "record", "name": "r", "fields": fields}, table.to_pylist(), sync_interval=40)


ORC = {"number": "bigint", "int8": "tinyint", "int64": "bigint", "float": "float",
       "double": "double",
       "decimal": "decimal(20,3)", "text": "string", "bool": "boolean", "date": "date", "micros": "timestamp",
       "binary": "binary",
       "list": "array<bigint>", "items": "array<struct<n:bigint,t:string>>",
       "struct": "struct<x:double,y:array<string>>"}  # fmt: skip


def of_pyorc(table: pa.Table, path: Path) -> None:
    fields = ",".join(f"{name}:{ORC[name.partition('_')[0]]}" for name in table.column_names)
    form = pyorc.StructRepr.DICT
    with open(path, "wb") as file, pyorc.Writer(file, f"struct<{fields}>", struct_repr=form) as writer:
        for row in table.to_pylist():
            writer.write(_zoned(row))


def _zoned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _zoned(one) for name, one in value.items()}
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise TypeError(value)


def of_json(table: pa.Table, path: Path) -> None:
    lines = [json.dumps(row, default=_plain, ensure_ascii=len(row) % 2 == 0) for row in table.to_pylist()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


Write = Callable[[pa.Table, Path], Any]
WRITERS: dict[tuple[str, str], Write] = {
    ("parquet", "pyarrow"): lambda table, path: pq.write_table(table, path, row_group_size=3),
    ("parquet", "pyarrow 1.0"): lambda table, path: pq.write_table(
        table, path, version="1.0", use_deprecated_int96_timestamps=True, use_dictionary=False, data_page_version="2.0",
        store_schema=False),
    ("parquet", "polars"): lambda table, path: pl.from_arrow(table).write_parquet(path, row_group_size=3),
    ("parquet", "DuckDB"): lambda table, path: of_duckdb(table, path, "format parquet"),
    ("parquet", "pandas"): lambda table, path: table.to_pandas(types_mapper=_arrow_backed).to_parquet(path),
    ("parquet", "fastparquet"): of_fastparquet,
    ("feather", "pyarrow"): lambda table, path: pyarrow.feather.write_feather(table, str(path), chunksize=3),
    ("feather", "polars"): lambda table, path: pl.from_arrow(table).write_ipc(path, compression="zstd"),
    ("feather", "pandas"): lambda table, path: table.to_pandas(types_mapper=_arrow_backed).to_feather(path),
    ("orc", "pyarrow"): lambda table, path: pyarrow.orc.write_table(table, str(path), stripe_size=1),
    ("orc", "pyorc"): of_pyorc,
    ("avro", "fastavro"): of_fastavro,
    ("avro", "polars"): lambda table, path: pl.from_arrow(table).write_avro(path),
    ("csv", "pyarrow"): lambda table, path: pyarrow.csv.write_csv(table, path),
    ("csv", "polars"): lambda table, path: pl.from_arrow(table).write_csv(path),
    ("csv", "DuckDB"): lambda table, path: of_duckdb(table, path, "format csv, header"),
    ("csv", "pandas"): lambda table, path: table.to_pandas(types_mapper=_arrow_backed).to_csv(path, index=False),
    ("ndjson", "json"): of_json,
    ("ndjson", "polars"): lambda table, path: pl.from_arrow(table).write_ndjson(path),
    ("ndjson", "DuckDB"): lambda table, path: of_duckdb(table, path, "format json"),
}  # fmt: skip


def _arrow_backed(kind: pa.DataType) -> Any:
    import pandas

    return pandas.ArrowDtype(kind)


NO_CSV = dict.fromkeys(["list", "items", "struct", "binary"], "CSV has texts alone") | {
    "float": "the shortest text of a float32 is another double"
}  # fmt: skip
NO_JSON = {"binary": "JSON has no bytes", "uint64": "JSON integers are read as int64", "float": "JSON has no NaN",
           "double": "JSON has no NaN", "struct": "JSON has no NaN",
           **dict.fromkeys(["list", "items"], "see test_lists_of_nulls_alone")}  # fmt: skip
NO_AVRO = {"uint64": "Avro has no type for it", "nanos": "Avro 1.11 has no type for it"}
WITHOUT: dict[tuple[str, str], dict[str, str]] = {
    ("parquet", "fastparquet"): {
        **dict.fromkeys(["list", "items", "struct", "time", "decimal", "date", "bool"], "it infers objects' types"),
        **dict.fromkeys(["int8", "int64", "uint64", "float", "double"], "pandas has no null beside NaN"),
        "zoned": "it warns with this pandas",
    },
    ("orc", "pyarrow"): {"time": "ORC has no type for it", "uint64": "ORC has no type for it"},
    ("orc", "pyorc"): dict.fromkeys(["time", "uint64", "nanos", "zoned"], "pyorc has no type for it"),
    ("avro", "fastavro"): NO_AVRO,
    ("avro", "polars"): NO_AVRO
    | dict.fromkeys(["int8", "decimal", "items", "time", "zoned"], "polars does not write it"),
    ("csv", "pyarrow"): NO_CSV,
    ("csv", "polars"): NO_CSV,
    ("csv", "DuckDB"): NO_CSV,
    ("csv", "pandas"): NO_CSV | {"text": "writes null and the empty text alike"},
    ("ndjson", "json"): NO_JSON | {"decimal": "Python's json does not write it"},
    ("ndjson", "polars"): NO_JSON | {"decimal": "written as text"},
    ("ndjson", "DuckDB"): NO_JSON,
}
"""Kinds that a writer cannot write, and why."""


def read(root: Path, suffix: str) -> tuple[pa.Schema, list[dict[str, Any]]]:
    store = LocalStore(root)
    made = snapshot_files(store, suffix)
    rows = []
    for batch in read_rows(made, store, [(0, made.rows)], batch_size=100):
        columns = dict(zip(batch.inputs.schema.names, batch.inputs.columns, strict=True))
        rows += [{name: plain_value(column[i]) for name, column in columns.items()} for i in range(len(batch))]
    return made.schema, rows


def read_again(root: Path, name: str, suffix: str, count: int) -> Any:
    (root / "links").mkdir(exist_ok=True)
    reader, file = SECOND_READERS[Suffix(suffix)], Nearby(LocalStore(root), root / "links").file(name)
    try:
        assert reader.count(file, Options()) == count
        return reader.rows(file, list(range(count)), Options())
    finally:
        file.close()


@st.composite
def tables(draw: Any, kinds: list[str], *, numbered: bool) -> pa.Table:
    """``numbered``: with a column that has no null, since an empty line of CSV is no row."""
    names = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(1, 7))
    columns = {"number": pa.array(range(rows))} if numbered else {}
    for name in names:
        kind, values = KINDS[name]
        columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), kind)
    return pa.table(columns)


@pytest.mark.parametrize(("suffix", "writer"), WRITERS)
def test_what_is_written_is_read(tmp_path: Path, suffix: str, writer: str) -> None:
    without = WITHOUT.get((suffix, writer), {})
    kinds = [name for name in KINDS if name not in without]

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(tables(kinds, numbered=suffix == "csv"))
    def check(table: pa.Table) -> None:
        path = tmp_path / f"a.{suffix}"
        path.unlink(missing_ok=True)
        WRITERS[suffix, writer](table, path)
        schema, rows = read(tmp_path, suffix)
        assert len(rows) == table.num_rows
        try:
            again = read_again(tmp_path, path.name, suffix, table.num_rows)
        except NotCompared:
            again = None
        for name in table.column_names:
            kind = schema.field(name).type
            for row, value in enumerate(table[name]):
                ours, written = rows[row][name], plain_value(value)
                assert same(kind, ours, written), (name, kind, ours, written)
                if again is not None and name not in again.unread and row in again.values:
                    theirs = again.values[row].get(name)
                    assert same(kind, ours, theirs) is not False, (name, kind, ours, theirs)

    check()


@pytest.mark.xfail(strict=True, raises=ValueError, reason="Arrow's JSON reader gives it fewer items than it says")
def test_lists_of_nulls_alone(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('{"l": [null, null]}\n')
    assert read(tmp_path, "ndjson")[1] == [{"l": [None, None]}]
