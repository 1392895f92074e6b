"""Arrow types as Iceberg tables hold them, and how they are spelled where columns are compared.

Iceberg has no unsigned integers, one time unit and one time zone. What fits is widened and loses nothing; what does
not fit is refused by name before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

import pyarrow as pa

from j2v_dagster.warehouse.base import WarehouseError

if TYPE_CHECKING:
    from pyiceberg.schema import Schema
    from pyiceberg.types import IcebergType, NestedField


def storable(schema: pa.Schema) -> pa.Schema:
    """``schema`` in types that Iceberg has; every value of the old type has the same meaning in the new one.

    Raises:
        WarehouseError: a type that Iceberg has not; names the column.
    """
    return pa.schema([pa.field(field.name, _storable(field.type, field.name)) for field in schema])


def _storable(arrow_type: pa.DataType, where: str) -> pa.DataType:
    if pa.types.is_struct(arrow_type):
        return pa.struct([pa.field(child.name, _storable(child.type, f"{where}.{child.name}")) for child in arrow_type])
    if pa.types.is_map(arrow_type):
        key, value = _storable(arrow_type.key_type, f"{where}.key"), _storable(arrow_type.item_type, f"{where}.value")
        return pa.map_(key, value)
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        return pa.list_(_storable(arrow_type.value_type, f"{where}.element"))
    if pa.types.is_dictionary(arrow_type):
        return _storable(arrow_type.value_type, where)
    if pa.types.is_uint64(arrow_type):
        return pa.decimal128(20, 0)
    if pa.types.is_uint32(arrow_type):
        return pa.int64()
    if pa.types.is_integer(arrow_type) and arrow_type.bit_width < 32:
        return pa.int32()
    if pa.types.is_float16(arrow_type):
        return pa.float32()
    if pa.types.is_time(arrow_type) and arrow_type.unit != "ns":
        return pa.time64("us")
    if pa.types.is_timestamp(arrow_type) and arrow_type.unit != "ns":
        return pa.timestamp("us", tz=None if arrow_type.tz is None else "UTC")
    if pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type):
        return pa.string()
    if pa.types.is_large_binary(arrow_type) or pa.types.is_binary_view(arrow_type):
        return pa.binary()
    lossless = (
        pa.types.is_boolean, pa.types.is_signed_integer, pa.types.is_float32, pa.types.is_float64, pa.types.is_string,
        pa.types.is_binary, pa.types.is_fixed_size_binary, pa.types.is_date32, pa.types.is_decimal128,
    )  # fmt: skip
    if not any(is_type(arrow_type) for is_type in lossless):
        raise WarehouseError(
            f"column {where!r} is {arrow_type}, which Iceberg cannot hold without loss. Nothing was changed. Remedy: "
            "leave the column out, or cast it in the shards (timestamps and times to microseconds, date64 to date32)"
        )
    return arrow_type


def to_iceberg(schema: pa.Schema) -> Schema:
    """The Iceberg schema of storable columns; every field has a number, and every one is optional."""
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField

    ids = count(1)
    fields = [NestedField(next(ids), field.name, _to_iceberg(field.type, lambda: next(ids))) for field in schema]
    return Schema(*fields)


def _to_iceberg(arrow_type: pa.DataType, new_id: Callable[[], int]) -> IcebergType:
    from pyiceberg import types

    if pa.types.is_struct(arrow_type):
        return types.StructType(
            *(types.NestedField(new_id(), child.name, _to_iceberg(child.type, new_id)) for child in arrow_type)
        )
    if pa.types.is_list(arrow_type):
        return types.ListType(new_id(), _to_iceberg(arrow_type.value_type, new_id), element_required=False)
    if pa.types.is_map(arrow_type):
        return types.MapType(
            new_id(), _to_iceberg(arrow_type.key_type, new_id), new_id(), _to_iceberg(arrow_type.item_type, new_id),
            value_required=False,
        )  # fmt: skip
    if pa.types.is_decimal128(arrow_type):
        return types.DecimalType(arrow_type.precision, arrow_type.scale)
    if pa.types.is_fixed_size_binary(arrow_type):
        return types.FixedType(arrow_type.byte_width)
    if pa.types.is_timestamp(arrow_type):
        return types.TimestampType() if arrow_type.tz is None else types.TimestamptzType()
    return {
        pa.bool_(): types.BooleanType, pa.int32(): types.IntegerType, pa.int64(): types.LongType,
        pa.float32(): types.FloatType, pa.float64(): types.DoubleType, pa.string(): types.StringType,
        pa.binary(): types.BinaryType, pa.date32(): types.DateType, pa.time64("us"): types.TimeType,
    }[arrow_type]()  # fmt: skip


def spell(iceberg_type: IcebergType) -> str:
    """A type as people write it, without the numbers that Iceberg gives to fields."""
    from pyiceberg.types import ListType, MapType, StructType

    if isinstance(iceberg_type, StructType):
        return f"struct<{', '.join(f'{field.name}: {_spell_field(field)}' for field in iceberg_type.fields)}>"
    if isinstance(iceberg_type, ListType):
        return f"list<{spell(iceberg_type.element_type)}>"
    if isinstance(iceberg_type, MapType):
        return f"map<{spell(iceberg_type.key_type)}, {spell(iceberg_type.value_type)}>"
    return str(iceberg_type)


def _spell_field(field: NestedField) -> str:
    return f"{spell(field.field_type)}{' required' if field.required else ''}"


def spell_columns(fields: tuple[NestedField, ...]) -> dict[str, str]:
    """The type of each column, by name."""
    return {field.name: _spell_field(field) for field in fields}
