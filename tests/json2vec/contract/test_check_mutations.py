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
import pytest
from flight_shards import SCHEMA, Trained, good_table

pc: Any = pyarrow.compute
ROWS = 600


@dataclass(frozen=True)
class Mutation:
    """What happens to good shards, and what must be said about it."""

    name: str
    breach: str  # severity, kind and column
    expected: str
    found: str
    change: Callable[[pa.Table], pa.Table]


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
    M("column missing", "error missing temp", "double", "no such column",
      lambda t: t.drop_columns(["temp"])),
    M("column in other case", "error missing temp", "double", "Temp (double) is new and is spelled",
      rename("temp", "Temp")),
    M("column in snake case", "error missing departed", "timestamp", "DEPARTED",
      rename("departed", "DEPARTED")),
    M("column renamed", "error missing gate", "int64", "gate_number (int64) is new; was it renamed?",
      rename("gate", "gate_number")),
    M("column renamed to another word", "error missing night", "bool", "dark (bool) is new; was it renamed?",
      rename("night", "dark")),
    M("moved out of a struct", "error missing plane.seats", "int64", "seats (int64) is new and has its name in",
      unnested),
    M("moved into a struct", "error missing temp", "double", "weather.temp (double) is new and has its name in",
      nested),
    M("child missing", "error missing plane.engine", "string", "no such column",
      objects("plane", lambda v: v, without(PLANE, "engine"))),
    M("child renamed", "error missing plane.weight", "double", "plane.Weight (double) is new",
      objects("plane", lambda v: moved(v, "weight", "Weight"), without(PLANE, "weight", Weight=pa.float64()))),
    M("child of a list's items missing", "error missing legs[].carrier", "string", "no such column",
      legs(lambda v: v, pa.list_(without(LEG, "carrier")))),
    M("child of a list's items renamed", "error missing legs[].distance", "double", "legs[].distance_m (double) is new",
      legs(lambda v: moved(v, "distance", "distance_m"), pa.list_(without(LEG, "distance", distance_m=pa.float64())))),
    M("array missing", "error missing legs", "list of object", "no such column",
      lambda t: t.drop_columns(["legs"])),
    M("struct missing", "error missing plane", "object {", "no such column",
      lambda t: t.drop_columns(["plane"])),
    # Types.
    M("number to text", "error type temp", "double", "string: the field reads numbers",
      cast("temp", pa.string())),
    M("nested number to text", "error type plane.seats", "int64", "string",
      objects("plane", lambda v: v | {"seats": f"{v['seats']} seats"}, plane(seats=pa.string()))),
    M("item's number to text", "error type legs[].distance", "double", "string",
      legs(lambda v: v | {"distance": str(v["distance"])}, leg(distance=pa.string()))),
    M("label text to number", "error type legs[].carrier", "string", "int64",
      legs(lambda v: v | {"carrier": len(v["carrier"])}, leg(carrier=pa.int64()))),
    M("label number to text", "error type gate", "int64", "string: labels of the vocabulary have another type",
      cast("gate", pa.string())),
    M("float to integer", "warning type temp", "double", "int64: fractions",
      cast("temp", pa.int64())),
    M("float to decimal", "warning type temp", "double", "decimal128(18, 6)",
      cast("temp", pa.decimal128(18, 6))),
    M("label to decimal", "error type gate", "int64", "decimal128(22, 2)",
      cast("gate", pa.decimal128(22, 2))),
    M("boolean to integer", "warning type night", "bool", "int8",
      cast("night", pa.int8())),
    M("boolean to text", "error type night", "bool", "string",
      cast("night", pa.string())),
    M("text to binary", "warning type note", "string", "binary: the bytes",
      lambda t: put(t, "note", t["note"].cast(pa.binary()))),
    M("number to binary", "error type temp", "double", "binary",
      values("temp", lambda v: b"12", pa.binary())),
    M("signed to unsigned", "warning type gate", "int64", "uint64: values of 2**63",
      cast("gate", pa.uint64())),
    M("timestamp to text", "warning type departed", "timestamp", "string",
      lambda t: put(t, "departed", pc.strftime(t["departed"], "%Y-%m-%dT%H:%M:%SZ"))),
    M("timestamp to number", "error type departed", "timestamp[us, tz=UTC]", "int64: a whole number",
      cast("departed", pa.int64())),
    M("timestamp to date", "error type departed", "timestamp", "date32[day]: the model reads the time of day",
      cast("departed", pa.date32())),
    M("time zone lost", "error type departed", "tz=UTC", "timestamp[us]: times with a zone",
      cast("departed", pa.timestamp("us"))),
    M("timestamp unit", "info type departed", "timestamp[us, tz=UTC]", "timestamp[ms, tz=UTC]",
      cast("departed", pa.timestamp("ms", tz="UTC"))),
    M("other time zone", "info type departed", "tz=UTC", "tz=America/New_York",
      cast("departed", pa.timestamp("us", tz="America/New_York"))),
    M("vector of other length", "error type vector", "list of 3 of float", "list of 4 of float: the model reads",
      values("vector", lambda v: [*v, 0.0], pa.list_(pa.float32(), 4))),
    M("vector of text", "error type vector", "list of 3", "list of string",
      values("vector", lambda v: [str(x) for x in v], pa.list_(pa.string()))),
    M("vector as text", "error type vector", "list of 3", "string: the field reads lists of 3 numbers",
      values("vector", str, pa.string())),
    M("set to joined text", "error type codes", "list of string", "string: a set is a list",
      values("codes", ",".join, pa.string())),
    M("set of other labels", "error type codes", "list of string", "list of int64",
      values("codes", lambda v: [int(x[1:]) for x in v], pa.list_(pa.int64()))),
    M("null type", "error null_type temp", "double", "null (every value is missing)",
      lambda t: put(t, "temp", pa.nulls(t.num_rows))),
    M("null type of a list", "error null_type legs", "list of object", "null",
      lambda t: put(t, "legs", pa.nulls(t.num_rows))),
    # Shapes.
    M("scalar to list", "error type temp", "double", "list of double",
      values("temp", lambda v: [v], pa.list_(pa.float64()))),
    M("scalar to object", "error type temp", "double", "object {celsius: double}",
      values("temp", lambda v: {"celsius": v}, pa.struct([("celsius", pa.float64())]))),
    M("list to scalar", "error shape legs", "list of object", "int64",
      values("legs", lambda v: len(v), pa.int64())),
    M("list to first item", "error shape legs", "list of object", "object {carrier: string",
      values("legs", lambda v: v[0] if v else None, LEG)),
    M("list of structs to struct of lists", "error shape legs", "list of object", "an object of lists (columns)",
      lists_of_columns),
    M("struct to list", "error shape plane", "object {seats: int64", "a list where a single object was",
      values("plane", lambda v: [v], pa.list_(PLANE))),
    M("struct to JSON text", "error shape plane", "object {", "JSON text",
      values("plane", json.dumps, pa.string())),
    M("list to JSON text", "error shape legs", "list of object", "JSON text",
      values("legs", json.dumps, pa.string())),
    M("struct to map", "error type plane.seats", "int64", "string",
      values("plane", lambda v: [(k, str(x)) for k, x in v.items()], pa.map_(pa.string(), pa.string()))),
    M("second column in another case", "warning name_clash temp", "one column 'temp'", "'temp' and 'Temp' (double)",
      lambda t: t.append_column("Temp", t["temp"])),
    M("extra column", "info extra wind", "no such column", "double",
      lambda t: t.append_column("wind", t["temp"])),
    M("extra child", "info extra plane.year", "no such column", "int64",
      objects("plane", lambda v: v | {"year": 2001}, without(PLANE, year=pa.int64()))),
    # Values.
    M("nulls", "error null_rate temp", "9.7% nulls", "% nulls",
      values("temp", some(lambda v: None, 0.6))),
    M("some nulls", "warning null_rate temp", "% nulls", "% nulls",
      values("temp", some(lambda v: None, 0.2))),
    M("nulls in items", "error null_rate legs[].carrier", "0.0% nulls", "100.0% nulls",
      legs(lambda v: v | {"carrier": None})),
    M("placeholder for nulls", "error unknown_rate note", "'de-iced'", "'n/a'",
      values("note", lambda v: v or "n/a")),
    M("placeholder number", "warning outside_rate temp", "median", "-999",
      values("temp", lambda v: -999.0 if v is None else v)),
    M("labels in other case", "error unknown_rate legs[].carrier", "'", "They differ in case",
      legs(lambda v: v | {"carrier": v["carrier"].lower()})),
    M("labels with blanks", "error unknown_rate legs[].carrier", "'", "They differ in white space",
      legs(lambda v: v | {"carrier": v["carrier"] + " "})),
    M("labels in another code", "error unknown_rate plane.engine", "0.0% labels", "unknown labels",
      objects("plane", lambda v: v | {"engine": {"fan": "1", "jet": "2", "prop": "3"}.get(v["engine"], "0")}, PLANE)),
    M("a new label now and then", "warning unknown_rate legs[].carrier", "0.0% labels", "'ZZ'",
      legs(some(lambda v: v | {"carrier": "ZZ"}, 0.15))),
    M("new labels in sets", "error unknown_rate codes", "'c", "'C",
      values("codes", lambda v: [x.upper() for x in v])),
    M("every list empty", "error empty_rate legs", "% empty", "100.0%",
      values("legs", lambda v: [])),
    M("lists too long", "error overflow_rate legs", "0.0% lists longer", "the longest has 12 items",
      values("legs", lambda v: v * 4)),
    M("metres to feet", "error unit_change legs[].distance", "median", "feet for metres",
      legs(lambda v: v | {"distance": v["distance"] * 3.28084})),
    M("Celsius to Fahrenheit", "error unit_change temp", "median", "Fahrenheit for Celsius",
      values("temp", lambda v: None if v is None else v * 1.8 + 32)),
    M("thousandfold", "error unit_change plane.weight", "median 59.9", "thousandfold",
      objects("plane", lambda v: v | {"weight": v["weight"] * 1000}, PLANE)),
    M("a thousandth", "error unit_change legs[].distance", "median", "a thousandth",
      legs(lambda v: v | {"distance": v["distance"] / 1000})),
    M("other sign", "error unit_change plane.weight", "median 59.9", "opposite sign",
      objects("plane", lambda v: v | {"weight": -v["weight"]}, PLANE)),
    M("far outside the range", "error outside_rate plane.weight", "median 59.9", "100.0% of the values lie far outside",
      objects("plane", lambda v: v | {"weight": v["weight"] + 5000}, PLANE)),
    M("infinite", "error outside_rate temp", "median", "inf",
      values("temp", lambda v: float("inf"))),
    M("constant number", "warning constant plane.weight", "median 59.9", "60 in every row",
      objects("plane", lambda v: v | {"weight": 60.0}, PLANE)),
    M("constant label", "warning constant gate", "20 different labels", "3 in every row",
      values("gate", lambda v: 3)),
    M("one vector too short", "error unencodable vector", "a vector field", "row ",
      values("vector", some(lambda v: v[:2], 0.01), pa.list_(pa.float32()))),
]  # fmt: skip


def test_there_are_thirty_kinds_and_more() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 30


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_caught(mutation: Mutation, trained: Trained, shards: Callable[[pa.Table], Path]) -> None:
    severity, kind, where = mutation.breach.split(" ")
    outcome = trained.check(shards(mutation.change(good_table(1, ROWS))))
    met = [one for one in outcome.breaches if (one.kind, one.where) == (kind, where)]
    assert len(met) == 1, outcome.text()
    breach = met[0]
    assert breach.severity == severity, breach.text()
    assert mutation.expected in breach.expected, breach.text()
    assert mutation.found in breach.found, breach.text()
    assert breach.remedy
    assert outcome.broken == (severity == "error"), outcome.text()
    # What is forwarded names the column, what was expected and what was found.
    text = breach.text()
    for part in (where, breach.expected, breach.found, breach.remedy):
        assert part in text
    if breach.kind in ("null_rate", "outside_rate", "unit_change"):
        assert "part-" in breach.examples[0]
        assert ", row " in breach.examples[0]


def test_drift_that_happens_to_fit_a_conversion_is_none(trained: Trained, shards: Callable[[pa.Table], Path]) -> None:
    """Days since the first of the month grow by a half from one week to the next; that is 1.6 kilometres a mile."""
    grown = legs(lambda v: v | {"distance": v["distance"] * 1.609344})
    outcome = trained.check(shards(grown(good_table(1, ROWS))))
    assert not [one for one in outcome.breaches if one.kind == "unit_change"], outcome.text()
    assert not outcome.broken
