"""Which Arrow type an Avro type is, as the file declares it: `AvroType`, `avro_type`.

``["null", {"type": "int", "logicalType": "date"}]`` is date32, whatever values there are.

| Avro | Arrow |
| --- | --- |
| null, boolean, int, long, float, double | null, bool, int32, int64, float, double |
| string, enum, uuid | string |
| bytes, fixed, duration | binary |
| decimal | decimal128, or decimal256 past 38 digits |
| date, time-millis, time-micros | date32, time32[ms], time64[us] |
| timestamp-millis, -micros, -nanos | timestamp of that unit, UTC; local-timestamp likewise without a zone |
| array, map, record | list, map, struct |
| a union of null and others | the type that holds all the others (`json2vec.reading.unite`) |

A logical type that is not in the table does not count, as Avro wants it: its values are those of the type below.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import reduce
from typing import Any

import pyarrow as pa

from json2vec.errors import ReadError
from json2vec.reading.unite import unite

__all__ = ["AvroType", "Named", "avro_type", "without_logical_types"]

Convert = Callable[[Any], Any]

_PRIMITIVE = {
    "null": pa.null(), "boolean": pa.bool_(), "int": pa.int32(), "long": pa.int64(), "float": pa.float32(),
    "double": pa.float64(), "string": pa.string(), "bytes": pa.binary(), "enum": pa.string(), "fixed": pa.binary(),
}  # fmt: skip
_LOGICAL = {
    ("int", "date"): pa.date32(), ("int", "time-millis"): pa.time32("ms"), ("long", "time-micros"): pa.time64("us"),
    **{("long", f"timestamp-{name}"): pa.timestamp(unit, "UTC")
       for name, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))},
    **{("long", f"local-timestamp-{name}"): pa.timestamp(unit)
       for name, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))},
}  # fmt: skip


@dataclass(frozen=True)
class AvroType:
    """A type of an Avro file.

    Attributes:
        kind: the Arrow type.
        bare: the Avro schema that its values are decoded with: the same bytes, without logical types.
        convert: from a value so decoded to what ``pa.array(..., kind)`` takes; None where that is the value itself.
    """

    kind: pa.DataType
    bare: Any
    convert: Convert | None = None


@dataclass
class Named:
    """The named types of a file: those that are known, and None for those that are being looked at."""

    where: str
    types: dict[str, AvroType | None] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)


def avro_type(schema: Any, named: Named, path: str) -> AvroType:
    """The type of ``schema``, a part of a file's schema as fastavro parsed it.

    Args:
        schema: the schema of one field.
        named: the named types of the file, which this adds to.
        path: where in a row the field is, for messages.

    Raises:
        ReadError: a type that contains itself, a union of types without a common one, or a decimal of more than 76
            digits; names file and column.
    """
    if isinstance(schema, list):
        return _union(schema, named, path)
    options: Any = {"type": schema} if isinstance(schema, str) else schema
    name = options["type"]
    if isinstance(name, (dict, list)):
        return avro_type(name, named, path)
    if isinstance(schema, str) and schema not in _PRIMITIVE:
        found = named.types.get(schema)
        if found is None:
            raise _refused(named.where, path, f"the type {schema!r}, which contains itself")
        return AvroType(found.kind, schema, found.convert)
    if name == "array":
        item = avro_type(options["items"], named, f"{path}[*]")
        return AvroType(pa.list_(item.kind), {"type": "array", "items": item.bare}, _each(item.convert))
    if name == "map":
        item = avro_type(options["values"], named, f"{path}.*")
        kind = pa.map_(pa.string(), item.kind)
        return AvroType(kind, {"type": "map", "values": item.bare}, _each_value(item.convert))
    if name in ("record", "error"):
        return _record(options, named, path)
    made = _leaf(options, named.where, path)
    if name in ("enum", "fixed"):
        named.types[options["name"]] = made
    return made


def without_logical_types(schema: Any) -> Any:
    """``schema`` with the types that store its logical types."""
    if isinstance(schema, list):
        return [without_logical_types(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    deep = {key: without_logical_types(schema[key]) for key in ("type", "items", "values", "fields") if key in schema}
    return {key: value for key, value in schema.items() if key not in ("logicalType", "default")} | deep


def _refused(where: str, path: str, what: str) -> ReadError:
    column = path.partition(".")[0].partition("[")[0]
    return ReadError(
        f"{where}: column {column!r}: {path} has {what}. Remedy: write it with a type of docs/processors.md, or say "
        "input_schema= without the column"
    )


def _leaf(options: Any, where: str, path: str) -> AvroType:
    bare, name, logical = without_logical_types(options), options["type"], str(options.get("logicalType"))
    if (name, logical) in _LOGICAL:
        return AvroType(_LOGICAL[name, logical], bare)
    if logical == "uuid" and name == "fixed" and options["size"] == 16:
        return AvroType(pa.string(), bare, lambda value: str(uuid.UUID(bytes=value)))
    if logical == "decimal" and name in ("bytes", "fixed"):
        precision, scale = options.get("precision", 0), options.get("scale", 0)
        if precision > 76:
            raise _refused(where, path, f"a decimal of {precision} digits; expected at most 76")
        if 0 <= scale <= precision and precision:
            make = pa.decimal128 if precision <= 38 else pa.decimal256
            return AvroType(make(precision, scale), bare, lambda value: _decimal(value, scale))
    return AvroType(_PRIMITIVE[name], bare)


def _decimal(value: bytes, scale: int) -> Decimal:
    whole = int.from_bytes(value, "big", signed=True)
    return Decimal((int(whole < 0), tuple(map(int, str(abs(whole)))), -scale))


def _record(schema: Any, named: Named, path: str) -> AvroType:
    named.types[schema["name"]] = None
    fields = {f["name"]: avro_type(f["type"], named, f"{path}.{f['name']}") for f in schema["fields"]}
    bare = {
        "type": "record", "name": schema["name"],
        "fields": [{"name": name, "type": one.bare} for name, one in fields.items()],
    }  # fmt: skip
    converts = [(name, one.convert) for name, one in fields.items() if one.convert is not None]

    def convert(value: dict[str, Any]) -> dict[str, Any]:
        return value | {name: change(value[name]) for name, change in converts}

    kind = pa.struct([(name, one.kind) for name, one in fields.items()])
    made = named.types[schema["name"]] = AvroType(kind, bare, convert if converts else None)
    return made


def _union(schema: list[Any], named: Named, path: str) -> AvroType:
    others = [one for one in schema if one != "null"]
    if not others:
        return AvroType(pa.null(), schema)
    branches = [avro_type(one, named, path) for one in others]
    if len(branches) == 1:
        only = iter(branches)
        bare = ["null" if one == "null" else next(only).bare for one in schema]
        return AvroType(branches[0].kind, bare, _nullable(branches[0].convert))
    kind = reduce(lambda a, b: unite(a, b) if a is not None else None, [b.kind for b in branches])
    changes = [None if kind is None else _adapts(branch.kind, kind) for branch in branches]
    if kind is None or None in changes:
        kinds = " and ".join(str(branch.kind) for branch in branches)
        raise _refused(named.where, path, f"a union of {kinds}, without a type that holds all their values")
    # Each branch is decoded as a record of one field, which are the same bytes, so that a value says its branch.
    bare, converts = [], {}
    for branch, change in zip(branches, changes, strict=True):
        name = f"j2v_branch_{next(named.numbers)}"
        bare.append({"type": "record", "name": name, "fields": [{"name": name, "type": branch.bare}]})
        converts[name] = (branch.convert or _same, change or _same)

    def convert(value: Any) -> Any:
        ((key, inner),) = value.items()
        first, second = converts[key]
        return second(first(inner))

    wrapped = iter(bare)
    return AvroType(kind, ["null" if one == "null" else next(wrapped) for one in schema], _nullable(convert))


def _adapts(have: Any, kind: Any) -> Convert | None:
    """From what `pa.array` takes for ``have`` to what it takes for the wider ``kind``; None where that is not known."""
    if have.equals(kind):
        return _same
    if pa.types.is_temporal(have):
        units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
        factor = units[kind.unit] // units[have.unit]
        return lambda ticks: ticks * factor
    if pa.types.is_decimal(kind):
        return _same if pa.types.is_decimal(have) else Decimal
    if pa.types.is_struct(have):
        wider = {f.name: f.type for f in kind}
        return _same if all(_adapts(f.type, wider[f.name]) is _same for f in have) else None
    if pa.types.is_map(have):
        return _same if _adapts(have.item_type, kind.item_type) is _same else None
    if pa.types.is_list(have):
        return _same if _adapts(have.value_type, kind.value_type) is _same else None
    return None if pa.types.is_decimal(have) else _same  # a decimal beside a double: some would lose digits


def _same(value: Any) -> Any:
    return value


def _nullable(convert: Convert | None) -> Convert | None:
    return convert and (lambda value: None if value is None else convert(value))


def _each(convert: Convert | None) -> Convert | None:
    return convert and (lambda value: [convert(item) for item in value])


def _each_value(convert: Convert | None) -> Convert | None:
    return convert and (lambda value: {key: convert(item) for key, item in value.items()})
