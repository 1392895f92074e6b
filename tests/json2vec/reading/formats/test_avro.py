"""Avro files are read in the types that they declare, in every block, whatever values there are."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from read_back import read

from json2vec.errors import ReadError
from json2vec.reading.row_hash import row_hash
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

STAMP = dt.datetime(2026, 1, 31, 10, 20, 30, 123000)
AWARE = STAMP.replace(tzinfo=dt.UTC)
ID = uuid.UUID(int=7)


def logical(base: Any, name: str, **more: Any) -> dict[str, Any]:
    return ({"type": base} if isinstance(base, str) else base) | {"logicalType": name} | more


def fixed(name: str, size: int) -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size}


# Avro type, what is written, Arrow type, what is read in Python (None: what is written).
TYPES: dict[str, tuple[Any, Any, pa.DataType, Any]] = {
    "null": ("null", None, pa.null(), None),
    "boolean": ("boolean", True, pa.bool_(), None),
    "int": ("int", -5, pa.int32(), None),
    "long": ("long", 2**60, pa.int64(), None),
    "float": ("float", 1.5, pa.float32(), None),
    "double": ("double", 0.1, pa.float64(), None),
    "string": ("string", "é", pa.string(), None),
    "bytes": ("bytes", b"\xff\x00", pa.binary(), None),
    "fixed": (fixed("F", 2), b"ab", pa.binary(), None),
    "enum": ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", pa.string(), None),
    "uuid": (logical("string", "uuid"), ID, pa.string(), str(ID)),
    "uuid of bytes": (logical(fixed("U", 16), "uuid"), ID.bytes, pa.string(), str(ID)),
    "decimal": (logical("bytes", "decimal", precision=10, scale=2), Decimal("-12.50"), pa.decimal128(10, 2), None),
    "decimal of fixed": (logical(fixed("D", 20), "decimal", precision=38, scale=3), Decimal("9" * 35 + ".125"),
                         pa.decimal128(38, 3), None),
    "date": (logical("int", "date"), dt.date(1913, 2, 3), pa.date32(), None),
    "time-millis": (logical("int", "time-millis"), dt.time(9, 30, 0, 5000), pa.time32("ms"), None),
    "time-micros": (logical("long", "time-micros"), dt.time(9, 30, 0, 5), pa.time64("us"), None),
    "timestamp-millis": (logical("long", "timestamp-millis"), AWARE, pa.timestamp("ms", "UTC"), None),
    "timestamp-micros": (logical("long", "timestamp-micros"), AWARE, pa.timestamp("us", "UTC"), None),
    "timestamp-nanos": (logical("long", "timestamp-nanos"), 5_000, pa.timestamp("ns", "UTC"),
                        dt.datetime(1970, 1, 1, 0, 0, 0, 5, dt.UTC)),
    "local-timestamp-millis": (logical("long", "local-timestamp-millis"), STAMP, pa.timestamp("ms"), None),
    "local-timestamp-micros": (logical("long", "local-timestamp-micros"), STAMP, pa.timestamp("us"), None),
    "duration": (logical(fixed("P", 12), "duration"), b"x" * 12, pa.binary(), None),
    "unknown": (logical("string", "colour"), "red", pa.string(), None),
    "numbers": (["null", "int", "double"], 5, pa.float64(), None),
    "times": ([logical("int", "time-millis"), logical("long", "time-micros")], dt.time(9, 30), pa.time64("us"), None),
    "texts": (["string", {"type": "enum", "name": "T", "symbols": ["A"]}], "A", pa.string(), None),
    "decimal or int": (["int", logical("bytes", "decimal", precision=5, scale=2)], 5, pa.decimal128(12, 2), Decimal(5)),
    "records": ([{"type": "record", "name": "R1", "fields": [{"name": "a", "type": "int"}]},
                 {"type": "record", "name": "R2", "fields": [{"name": "b", "type": logical("string", "uuid")}]}],
                {"b": str(ID)}, pa.struct([("a", pa.int32()), ("b", pa.string())]), {"a": None, "b": str(ID)}),
}  # fmt: skip


def ways(name: str) -> dict[str, tuple[Any, Any, pa.DataType, Any]]:
    """A type by itself, nullable, and inside of everything that has items."""
    kind, value, arrow, back = TYPES[name]
    back = value if back is None else back
    record = {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": kind}]}
    found = {
        "alone": (kind, value, arrow, back),
        "array": ({"type": "array", "items": kind}, [value, value], pa.list_(arrow), [back, back]),
        "empty array": ({"type": "array", "items": kind}, [], pa.list_(arrow), []),
        "map": ({"type": "map", "values": kind}, {"k": value}, pa.map_(pa.string(), arrow), {"k": back}),
        "record": (record, {"x": value}, pa.struct([("x", arrow)]), {"x": back}),
        "array of records": (
            {"type": "array", "items": record}, [{"x": value}], pa.list_(pa.struct([("x", arrow)])), [{"x": back}]
        ),
    }  # fmt: skip
    if name != "null":
        union = kind if isinstance(kind, list) else [kind]
        null = union if "null" in union else ["null", *union]
        found["nullable"] = (null, value, arrow, back)
        found["all null"] = (null, None, arrow, None)
        found["array of nullables"] = ({"type": "array", "items": null}, [None, value], pa.list_(arrow), [None, back])
    return found


def write(path: Path, fields: dict[str, Any], rows: list[dict[str, Any]], **options: Any) -> None:
    schema = {"type": "record", "name": "row", "fields": [{"name": n, "type": kind} for n, kind in fields.items()]}
    with open(path, "wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), rows, **options)


def read_all(root: Path, **options: Any) -> pa.Table:
    store = LocalStore(root)
    made = snapshot_files(store, "avro", **options)
    batches = [batch.inputs for batch in read(made, store)]
    return pa.Table.from_batches(batches, made.schema)


@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_read_as_the_file_declares_it(tmp_path: Path, name: str) -> None:
    for way, (kind, value, arrow, back) in ways(name).items():
        path = tmp_path / f"{way}.avro"
        write(path, {"n": "long", "x": kind}, [{"n": i, "x": value} for i in range(7)], sync_interval=1)
        found = read_all(tmp_path)
        assert found.schema == pa.schema([("n", pa.int64()), ("x", arrow)]), way
        assert found["x"].to_pylist(maps_as_pydicts="strict") == [back] * 7, way
        write(path, {"n": "long", "x": kind}, [])
        assert snapshot_files(LocalStore(tmp_path), "avro").schema == found.schema, way
        path.unlink()


@pytest.mark.parametrize("name", TYPES)
def test_rows_have_the_hash_of_the_values_in_types_that_python_would_give(tmp_path: Path, name: str) -> None:
    kind, value, _, back = TYPES[name]
    write(tmp_path / "a.avro", {"x": kind}, [{"x": value}])
    natural = pa.array([value if back is None else back])
    assert row_hash(read_all(tmp_path)).tolist() == row_hash(pa.table({"x": natural})).tolist()


def test_names_stand_for_their_types_in_any_namespace(tmp_path: Path) -> None:
    money = logical({"type": "fixed", "name": "shop.Money", "size": 4}, "decimal", precision=6, scale=2)
    item = {"type": "record", "name": "Item", "namespace": "shop", "fields": [
        {"name": "price", "type": money},
        {"name": "colour", "type": {"type": "enum", "name": "C", "symbols": ["red"]}},
    ]}  # fmt: skip
    fields = {"first": item, "rest": {"type": "array", "items": "shop.Item"}, "sum": ["null", "shop.Money"]}
    one = {"price": Decimal("1.25"), "colour": "red"}
    rows = [{"first": one, "rest": [one, one], "sum": Decimal("3.75")}, {"first": one, "rest": [], "sum": None}]
    write(tmp_path / "a.avro", fields, rows)
    assert read_all(tmp_path).to_pylist() == rows


def test_a_union_without_a_common_type_names_file_and_column(tmp_path: Path) -> None:
    kinds = {"id": "int", "x": {"type": "array", "items": ["int", "string"]}}
    write(tmp_path / "a.avro", kinds, [{"id": 1, "x": ["a"]}])
    with pytest.raises(ReadError, match=r"a\.avro: column 'x': x\[\*\] has a union of int32 and string.*input_schema="):
        read_all(tmp_path)
    assert read_all(tmp_path, input_schema=pa.schema([("id", pa.int64())])).to_pylist() == [{"id": 1}]


def test_a_type_that_contains_itself_is_refused_by_name(tmp_path: Path) -> None:
    node = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
    write(tmp_path / "a.avro", {"id": "int", "tree": node}, [{"id": 1, "tree": {"next": {"next": None}}}])
    with pytest.raises(ReadError, match=r"column 'tree': tree\.next has the type 'Node', which contains itself"):
        read_all(tmp_path)
    assert read_all(tmp_path, input_schema=pa.schema([("id", pa.int64())])).to_pylist() == [{"id": 1}]


def test_rows_that_are_no_records_are_refused(tmp_path: Path) -> None:
    with open(tmp_path / "a.avro", "wb") as file:
        fastavro.writer(file, {"type": "array", "items": "int"}, [[1]])
    with pytest.raises(ReadError, match=r"a\.avro: its rows are of the Avro type.*expected a record"):
        read_all(tmp_path)


def test_a_time_that_python_does_not_hold_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.avro", {"x": logical("long", "timestamp-millis")}, [{"x": 10**15}])
    assert read_all(tmp_path)["x"].cast(pa.int64()).to_pylist() == [10**15]


def test_codecs(tmp_path: Path) -> None:
    path = tmp_path / "a.avro"
    for codec in ("null", "deflate", "bzip2", "xz"):
        write(path, {"x": "int"}, [{"x": i} for i in range(100)], codec=codec, sync_interval=20)
        assert read_all(tmp_path)["x"].to_pylist() == list(range(100))
    write(path, {"x": "int"}, [{"x": 1}], codec="null")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x08null", b"\x06lz9", 1))
    with pytest.raises(ReadError, match=r"a\.avro: its blocks are compressed with 'lz9'; expected one of null"):
        read_all(tmp_path)
    path.write_bytes(data.replace(b"\x08null", b"\x06lz4", 1))
    if find_spec("lz4") is not None:
        return
    with pytest.raises(ReadError, match=r"compressed with lz4, .* Remedy: pip install lz4"):
        read_all(tmp_path)


def test_a_number_that_the_declared_type_does_not_hold_names_its_row(tmp_path: Path) -> None:
    rows = [{"x": 1}, {"x": 2**53 + 1}, {"x": 0.5}]
    write(tmp_path / "a.avro", {"x": ["long", "double"]}, rows)
    with pytest.raises(ReadError, match=r"a\.avro: row 1: column 'x' holds 9007199254740993; expected .*double"):
        read_all(tmp_path)
