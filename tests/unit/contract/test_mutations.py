"""Kinds of mutation that producers make, each in real shards; every one is caught, with words they can act on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from .conftest import SCHEMA, Trained, as_json, good_rows, good_table, write_ndjson, write_parquet

pc: Any = pyarrow.compute
ROWS = 600


@dataclass(frozen=True)
class Mutation:
    """What happens to good shards, and what must be said about it."""

    name: str
    change: Callable[[pa.Table], pa.Table]
    severity: str
    kind: str
    where: str
    expected: str
    found: str


def put(table: pa.Table, name: str, column: Any, kind: pa.DataType | None = None) -> pa.Table:
    array = column if isinstance(column, (pa.Array, pa.ChunkedArray)) else pa.array(column, kind)
    return table.set_column(table.schema.get_field_index(name), name, array)


def values(name: str, change: Callable[[Any], Any], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    """Every value of a top-level column changed."""
    return lambda t: put(t, name, [change(v) for v in t[name].to_pylist()], kind or t.schema.field(name).type)


def cast(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda t: put(t, name, t[name].cast(kind, safe=False))


def rename(name: str, new: str) -> Callable[[pa.Table], pa.Table]:
    return lambda t: t.rename_columns([new if one == name else one for one in t.schema.names])


def objects(name: str, change: Callable[[dict], Any], kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    """A struct column rebuilt, with another type."""
    return values(name, lambda v: None if v is None else change(v), kind)


def some(change: Callable[[Any], Any], share: float) -> Callable[[Any], Any]:
    """Change a share of the values."""
    rng = np.random.default_rng(5)
    return lambda v: change(v) if rng.random() < share else v


def legs(change: Callable[[dict], Any], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    return values("legs", lambda items: [change(dict(item)) for item in items], kind)


PLANE, LEGS = SCHEMA.field("plane").type, SCHEMA.field("legs").type
LEG = LEGS.value_type


def plane(**kinds: pa.DataType) -> pa.DataType:
    return pa.struct([(f.name, kinds.get(f.name, f.type)) for f in PLANE])


def leg(**kinds: pa.DataType) -> pa.DataType:
    return pa.list_(pa.struct([(f.name, kinds.get(f.name, f.type)) for f in LEG]))


def without(kind: Any, *names: str, **more: pa.DataType) -> pa.DataType:
    return pa.struct([(f.name, f.type) for f in kind if f.name not in names] + list(more.items()))


def moved(item: dict, old: str, new: str) -> dict:
    item = dict(item)
    item[new] = item.pop(old)
    return item


def unnested(t: pa.Table) -> pa.Table:
    seats = pc.struct_field(t["plane"].combine_chunks(), "seats")
    t = objects("plane", lambda v: v, without(PLANE, "seats"))(t)
    return t.append_column("seats", seats)


def nested(t: pa.Table) -> pa.Table:
    weather = pa.StructArray.from_arrays([t["temp"].combine_chunks()], names=["temp"])
    return t.drop_columns(["temp"]).append_column("weather", weather)


def lists_of_columns(t: pa.Table) -> pa.Table:
    kind = pa.struct([(f.name, pa.list_(f.type)) for f in LEG])
    return values("legs", lambda items: {f.name: [one[f.name] for one in items] for f in LEG}, kind)(t)


M = Mutation
MUTATIONS = [
    # Columns that went away.
    M("column missing", lambda t: t.drop_columns(["temp"]), "error", "missing", "temp", "double", "no such column"),
    M("column in other case", rename("temp", "Temp"), "error", "missing", "temp", "double", "Temp (double) is new and is spelled"),
    M("column in snake case", rename("departed", "DEPARTED"), "error", "missing", "departed", "timestamp", "DEPARTED"),
    M("column renamed", rename("gate", "gate_number"), "error", "missing", "gate", "int64", "gate_number (int64) is new; was it renamed?"),
    M("column renamed to another word", rename("night", "dark"), "error", "missing", "night", "bool", "dark (bool) is new; was it renamed?"),
    M("moved out of a struct", unnested, "error", "missing", "plane.seats", "int64", "seats (int64) is new and has its name in another place"),
    M("moved into a struct", nested, "error", "missing", "temp", "double", "weather.temp (double) is new and has its name in another place"),
    M("child missing", objects("plane", lambda v: v, without(PLANE, "engine")), "error", "missing", "plane.engine", "string", "no such column"),
    M("child renamed", objects("plane", lambda v: moved(v, "weight", "Weight"), without(PLANE, "weight", Weight=pa.float64())),
      "error", "missing", "plane.weight", "double", "plane.Weight (double) is new"),
    M("child of a list's items missing", legs(lambda v: v, pa.list_(without(LEG, "carrier"))), "error", "missing", "legs[].carrier", "string", "no such column"),
    M("child of a list's items renamed", legs(lambda v: moved(v, "distance", "distance_m"), pa.list_(without(LEG, "distance", distance_m=pa.float64()))),
      "error", "missing", "legs[].distance", "double", "legs[].distance_m (double) is new"),
    M("array missing", lambda t: t.drop_columns(["legs"]), "error", "missing", "legs", "list of object", "no such column"),
    M("struct missing", lambda t: t.drop_columns(["plane"]), "error", "missing", "plane", "object {", "no such column"),
    # Types.
    M("number to text", cast("temp", pa.string()), "error", "type", "temp", "double", "string: the field reads numbers"),
    M("nested number to text", objects("plane", lambda v: v | {"seats": f"{v['seats']} seats"}, plane(seats=pa.string())),
      "error", "type", "plane.seats", "int64", "string"),
    M("item's number to text", legs(lambda v: v | {"distance": str(v["distance"])}, leg(distance=pa.string())),
      "error", "type", "legs[].distance", "double", "string"),
    M("label text to number", legs(lambda v: v | {"carrier": len(v["carrier"])}, leg(carrier=pa.int64())), "error", "type", "legs[].carrier", "string", "int64"),
    M("label number to text", cast("gate", pa.string()), "error", "type", "gate", "int64", "string: labels of the vocabulary have another type"),
    M("float to integer", cast("temp", pa.int64()), "warning", "type", "temp", "double", "int64: fractions"),
    M("float to decimal", cast("temp", pa.decimal128(18, 6)), "warning", "type", "temp", "double", "decimal128(18, 6)"),
    M("label to decimal", cast("gate", pa.decimal128(20, 2)), "error", "type", "gate", "int64", "decimal128(20, 2)"),
    M("boolean to integer", cast("night", pa.int8()), "warning", "type", "night", "bool", "int8"),
    M("boolean to text", cast("night", pa.string()), "error", "type", "night", "bool", "string"),
    M("text to binary", lambda t: put(t, "note", t["note"].cast(pa.binary())), "warning", "type", "note", "string", "binary: the bytes"),
    M("number to binary", values("temp", lambda v: b"12", pa.binary()), "error", "type", "temp", "double", "binary"),
    M("signed to unsigned", cast("gate", pa.uint64()), "warning", "type", "gate", "int64", "uint64: values of 2**63"),
    M("timestamp to text", lambda t: put(t, "departed", pc.strftime(t["departed"], "%Y-%m-%dT%H:%M:%SZ")), "warning", "type", "departed", "timestamp", "string"),
    M("timestamp to number", cast("departed", pa.int64()), "error", "type", "departed", "timestamp[us, tz=UTC]", "int64: a whole number"),
    M("timestamp to date", cast("departed", pa.date32()), "error", "type", "departed", "timestamp", "date32[day]: the model reads the time of day"),
    M("time zone lost", cast("departed", pa.timestamp("us")), "error", "type", "departed", "tz=UTC", "timestamp[us]: times with a zone"),
    M("timestamp unit", cast("departed", pa.timestamp("ms", tz="UTC")), "info", "type", "departed", "timestamp[us, tz=UTC]", "timestamp[ms, tz=UTC]"),
    M("other time zone", cast("departed", pa.timestamp("us", tz="America/New_York")), "info", "type", "departed", "tz=UTC", "tz=America/New_York"),
    M("vector of other length", values("vector", lambda v: [*v, 0.0], pa.list_(pa.float32(), 4)), "error", "type", "vector", "list of 3 of float", "list of 4 of float: the model reads exactly 3"),
    M("vector of text", values("vector", lambda v: [str(x) for x in v], pa.list_(pa.string())), "error", "type", "vector", "list of 3", "list of string"),
    M("vector as text", values("vector", str, pa.string()), "error", "type", "vector", "list of 3", "string: the field reads lists of 3 numbers"),
    M("set to joined text", values("codes", ",".join, pa.string()), "error", "type", "codes", "list of string", "string: a set is a list"),
    M("set of other labels", values("codes", lambda v: [int(x[1:]) for x in v], pa.list_(pa.int64())), "error", "type", "codes", "list of string", "list of int64"),
    M("null type", lambda t: put(t, "temp", pa.nulls(t.num_rows)), "error", "null_type", "temp", "double", "null (every value is missing)"),
    M("null type of a list", lambda t: put(t, "legs", pa.nulls(t.num_rows)), "error", "null_type", "legs", "list of object", "null"),
    # Shapes.
    M("scalar to list", values("temp", lambda v: [v], pa.list_(pa.float64())), "error", "type", "temp", "double", "list of double"),
    M("scalar to object", values("temp", lambda v: {"celsius": v}, pa.struct([("celsius", pa.float64())])), "error", "type", "temp", "double", "object {celsius: double}"),
    M("list to scalar", values("legs", lambda v: len(v), pa.int64()), "error", "shape", "legs", "list of object", "int64"),
    M("list to first item", values("legs", lambda v: v[0] if v else None, LEG), "error", "shape", "legs", "list of object", "object {carrier: string"),
    M("list of structs to struct of lists", lists_of_columns, "error", "shape", "legs", "list of object", "an object of lists (columns)"),
    M("struct to list", values("plane", lambda v: [v], pa.list_(PLANE)), "error", "shape", "plane", "object {seats: int64", "a list where a single object was"),
    M("struct to JSON text", values("plane", json.dumps, pa.string()), "error", "shape", "plane", "object {", "JSON text"),
    M("list to JSON text", values("legs", json.dumps, pa.string()), "error", "shape", "legs", "list of object", "JSON text"),
    M("struct to map", values("plane", lambda v: [(k, str(x)) for k, x in v.items()], pa.map_(pa.string(), pa.string())), "error", "type", "plane.seats", "int64", "string"),
    M("second column in another case", lambda t: t.append_column("Temp", t["temp"]), "warning", "name_clash", "temp", "one column 'temp'", "'temp' and 'Temp' (double)"),
    M("extra column", lambda t: t.append_column("wind", t["temp"]), "info", "extra", "wind", "no such column", "double"),
    M("extra child", objects("plane", lambda v: v | {"year": 2001}, without(PLANE, year=pa.int64())), "info", "extra", "plane.year", "no such column", "int64"),
    # Values.
    M("nulls", values("temp", some(lambda v: None, 0.6)), "error", "null_rate", "temp", "10.", "% nulls"),
    M("some nulls", values("temp", some(lambda v: None, 0.2)), "warning", "null_rate", "temp", "% nulls", "% nulls"),
    M("nulls in items", legs(lambda v: v | {"carrier": None}), "error", "null_rate", "legs[].carrier", "0.0% nulls", "100.0% nulls"),
    M("placeholder for nulls", values("note", lambda v: v or "n/a"), "error", "unknown_rate", "note", "'de-iced'", "'n/a'"),
    M("placeholder number", values("temp", lambda v: -999.0 if v is None else v), "warning", "outside_rate", "temp", "median", "-999"),
    M("labels in other case", legs(lambda v: v | {"carrier": v["carrier"].lower()}), "error", "unknown_rate", "legs[].carrier", "'", "They differ in case"),
    M("labels with blanks", legs(lambda v: v | {"carrier": v["carrier"] + " "}), "error", "unknown_rate", "legs[].carrier", "'", "They differ in white space"),
    M("labels in another code", objects("plane", lambda v: v | {"engine": {"fan": "1", "jet": "2", "prop": "3"}.get(v["engine"], "0")}, PLANE),
      "error", "unknown_rate", "plane.engine", "0.0% labels", "unknown labels"),
    M("a new label now and then", legs(some(lambda v: v | {"carrier": "ZZ"}, 0.15)), "warning", "unknown_rate", "legs[].carrier", "0.0% labels", "'ZZ'"),
    M("new labels in sets", values("codes", lambda v: [x.upper() for x in v]), "error", "unknown_rate", "codes", "'c", "'C"),
    M("every list empty", values("legs", lambda v: []), "error", "empty_rate", "legs", "% empty", "100.0%"),
    M("lists too long", values("legs", lambda v: v * 4), "error", "overflow_rate", "legs", "0.0% lists longer", "the longest has 12 items"),
    M("metres to feet", legs(lambda v: v | {"distance": v["distance"] * 3.28084}), "error", "unit_change", "legs[].distance", "median", "feet for metres"),
    M("Celsius to Fahrenheit", values("temp", lambda v: None if v is None else v * 1.8 + 32), "error", "unit_change", "temp", "median", "Fahrenheit for Celsius"),
    M("thousandfold", objects("plane", lambda v: v | {"weight": v["weight"] * 1000}, PLANE), "error", "unit_change", "plane.weight", "median 60", "thousandfold"),
    M("other sign", objects("plane", lambda v: v | {"weight": -v["weight"]}, PLANE), "error", "unit_change", "plane.weight", "median 60", "opposite sign"),
    M("far outside the range", objects("plane", lambda v: v | {"weight": v["weight"] + 5000}, PLANE), "error", "outside_rate", "plane.weight", "median 60", "100.0% of the values are outside"),
    M("infinite", values("temp", lambda v: float("inf")), "error", "outside_rate", "temp", "median", "inf"),
    M("constant number", objects("plane", lambda v: v | {"weight": 60.0}, PLANE), "warning", "constant", "plane.weight", "median 60", "60 in every row"),
    M("constant label", values("gate", lambda v: 3), "warning", "constant", "gate", "20 different labels", "3 in every row"),
    M("one vector too short", values("vector", some(lambda v: v[:2], 0.01), pa.list_(pa.float32())), "error", "unencodable", "vector", "a vector field", "row "),
]  # fmt: skip


def test_there_are_thirty_kinds_and_more() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 30


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_caught(mutation: Mutation, trained: Trained, shards: Callable[[pa.Table], Path]) -> None:
    change: Any = mutation.change(good_table(1, ROWS))
    outcome = trained.check(shards(change))
    met = [one for one in outcome.breaches if (one.kind, one.where) == (mutation.kind, mutation.where)]
    assert len(met) == 1, outcome.text()
    breach = met[0]
    assert breach.severity == mutation.severity, breach.text()
    assert mutation.expected in breach.expected, breach.text()
    assert mutation.found in breach.found, breach.text()
    assert breach.remedy
    assert outcome.broken == (mutation.severity == "error"), outcome.text()
    # What is forwarded names the column, what was expected and what was found.
    text = breach.text()
    for part in (mutation.where, breach.expected, breach.found, breach.remedy):
        assert part in text
    if breach.kind in ("null_rate", "outside_rate", "unit_change"):
        assert "part-" in breach.examples[0]
        assert ", row " in breach.examples[0]


