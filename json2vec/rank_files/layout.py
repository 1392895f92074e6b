"""The one Arrow schema of a prediction folder, known before the first batch, and columns that must fit it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pyarrow as pa

from json2vec.errors import AlignmentError, ProcessorError, SchemaError
from json2vec.reading.row_batch import SOURCE_TYPE


def stored_type(kind: pa.DataType) -> pa.DataType:
    """``kind`` with dictionaries replaced by their values, at any depth.

    Parquet encodes repeated values as a dictionary anyway, and pyarrow cannot read a dictionary inside a struct across
    row groups ("Nested data conversions not implemented for chunked array outputs").
    """
    if pa.types.is_dictionary(kind):
        return stored_type(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(stored_type(one.type)) for one in kind])
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(stored_type(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(stored_type(kind.value_type)), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(stored_type(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(kind.key_field, kind.item_field.with_type(stored_type(kind.item_type)))
    return kind


SOURCE_STORED = stored_type(SOURCE_TYPE)
REJECTED_SCHEMA = pa.schema(
    [pa.field("file", pa.string(), nullable=False), pa.field("row", pa.int64(), nullable=False),
     pa.field("reason", pa.string(), nullable=False), pa.field("raw", pa.string())]
)  # fmt: skip
"""Columns of ``rejected-N.parquet``: which input row, why it gave no output row, its text where it was unreadable."""


def rank_schema(inputs: pa.Schema, predictions: pa.StructType, keep: bool | Sequence[str] = True) -> pa.Schema:
    """The schema of every rank file of a folder.

    Args:
        inputs: the snapshot's schema. predictions: one child a schema address.
        keep: all input columns, none (then there is no ``inputs`` column), or these, in the snapshot's order.

    Raises:
        SchemaError: an unknown column in ``keep``, or a struct without fields, which Parquet cannot hold.
    """
    names = inputs.names if keep is True else [] if keep is False else list(keep)
    if unknown := [name for name in names if name not in inputs.names]:
        raise SchemaError(f"inputs={unknown} are not columns of the input; it has {inputs.names}")
    chosen = pa.struct([inputs.field(name) for name in inputs.names if name in set(names)])
    columns = [pa.field("predictions", stored_type(predictions)), pa.field("source", SOURCE_STORED, nullable=False)]
    if chosen.num_fields:
        columns.insert(0, pa.field("inputs", stored_type(chosen)))
    for column in columns:
        if address := _empty_struct(column):
            raise SchemaError(
                f"{address} is a struct without fields, which Parquet cannot hold. Remedy: "
                + ("give the model a target or embed=True" if address == "predictions" else
                   "leave the column out with inputs=[...], or declare its type with schema= or input_schema=")
            )  # fmt: skip
    return pa.schema(columns)


def _empty_struct(column: pa.Field) -> str | None:
    if pa.types.is_struct(column.type) and column.type.num_fields == 0:
        return column.name
    for child in _children(column.type):
        if found := _empty_struct(child):
            return f"{column.name}.{found}"
    return None


def _children(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_map(kind):
        return [kind.key_field, kind.item_field]
    return [kind.field(i) for i in range(kind.num_fields)]


def schema_digest(schema: pa.Schema) -> str:
    """SHA-256 (hex) over names, types and nullability, spelled the same by every pyarrow version."""
    return hashlib.sha256("\n".join(map(_describe, schema)).encode()).hexdigest()


def _describe(column: pa.Field) -> str:
    inner = ",".join(map(_describe, _children(column.type)))
    kind = f"{str(column.type).partition('<')[0]}<{inner}>" if inner else str(column.type)
    if pa.types.is_fixed_size_list(column.type):
        kind += f"[{column.type.list_size}]"
    # The name of a list's item says nothing and differs between libraries ("item", "element").
    anonymous = column.name in ("item", "element", "entries")
    name = "" if anonymous else column.name.replace("\\", "\\\\").replace(",", "\\,")
    return f"{name}:{kind}{'' if column.nullable else '!'}"


# -- columns that must fit ---------------------------------------------------------------------------------------------


def fit_array(array: pa.Array, kind: pa.DataType, what: str, row_name: Callable[[int], str]) -> pa.Array:
    """``array`` as ``kind``, where only the encoding differs (a dictionary, the name of a list's item).

    Raises:
        ProcessorError: another type; the message names the column and the batch's first row.
    """
    if array.type == kind:
        return array
    if stored_type(array.type).equals(kind) or _describe(pa.field("", stored_type(array.type))) == _describe(
        pa.field("", kind)
    ):
        return array.cast(kind)
    where = f" of {row_name(0)}" if len(array) else ""
    raise ProcessorError(f"{what}{where} {_REFUSAL.format(kind=kind, found=array.type)}")


_REFUSAL = (
    "does not fit the schema that was fixed before the first batch: expected {kind}, found {found}. "
    "Nothing was dropped or converted. Remedy: declare the type with schema="
)


def fit_values(values: Sequence[object], kind: pa.DataType, what: str, row_name: Callable[[int], str]) -> pa.Array:
    """Python values as an array of ``kind``; nulls, narrower numbers and absent struct keys fit, nothing else does.

    Raises:
        ProcessorError: naming the first row whose value does not fit.
    """
    try:
        return _fit_values(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        for index in range(len(values)):
            try:
                _fit_values(values[index : index + 1], kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as exc:
                text = repr(values[index])
                found = f"{text[:80]}{'...' if len(text) > 80 else ''} ({exc})"
                raise ProcessorError(f"{what} of {row_name(index)} {_REFUSAL.format(kind=kind, found=found)}") from exc
        raise


def _fit_values(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    if _has_map(kind):  # Python dicts are taken for structs, unless the type is said
        return pa.array(values, kind)
    inferred = pa.array(values)
    if not _widens(inferred.type, kind):
        raise TypeError(f"type {inferred.type}")
    # Not inferred.cast(kind): struct casts want the same fields, and `values` may lack some.
    return pa.array(values, kind)


def _has_map(kind: pa.DataType) -> bool:
    return pa.types.is_map(kind) or any(_has_map(child.type) for child in _children(kind))


def _widens(given: pa.DataType, kind: pa.DataType) -> bool:
    """Whether every value of ``given`` is a value of ``kind``. pyarrow on its own would cut 1.5 to 1 and drop keys."""
    types = pa.types
    if types.is_null(given) or given == kind:
        return True
    if types.is_struct(given):
        return types.is_struct(kind) and all(
            (i := kind.get_field_index(one.name)) >= 0 and _widens(one.type, kind.field(i).type) for one in given
        )
    if types.is_list(given):
        nested = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return nested and _widens(given.value_type, kind.value_type)
    if types.is_integer(given):
        return types.is_integer(kind) or types.is_floating(kind)  # out of range is an error of pa.array's own
    if types.is_floating(given):
        return types.is_floating(kind)
    if types.is_string(given):
        return types.is_large_string(kind)
    if types.is_binary(given):
        return types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return (types.is_temporal(given) and given.id == kind.id) or (types.is_decimal(given) and types.is_decimal(kind))


def infer_type(values: Sequence[object], what: str) -> pa.DataType:
    """The Arrow type of a postprocessor's column, from the plan's first batch.

    Raises:
        ProcessorError: values of several types.
    """
    try:
        return pa.array(values).type
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as exc:
        raise ProcessorError(f"{what}: cannot tell one type from its values: {exc}. Remedy: schema=") from exc


def check_lengths(rows: int, where: str, **columns: int) -> None:
    """Raise `AlignmentError` naming the first of ``columns`` (name to length) that is not ``rows`` long."""
    for name, length in columns.items():
        if length != rows:
            raise AlignmentError(
                f"{name} has {length} rows where {where} has {rows}: every column must hold one value for each row. "
                "Nothing of this batch was written"
            )

