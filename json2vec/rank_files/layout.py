"""The one Arrow schema of a prediction folder, known before the first batch, and columns that must fit it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from json2vec.errors import AlignmentError, ProcessorError, SchemaError
from json2vec.reading.exact import cast, shown
from json2vec.reading.lasting import Refused, lasting_type, refusal
from json2vec.reading.limits import depth_message, too_deep
from json2vec.reading.row_batch import SOURCE_TYPE


def stored_type(arrow_type: Any) -> Any:
    """``arrow_type`` as rank files hold it: without dictionaries, and in types that last, at any depth.

    Parquet encodes repeated values as a dictionary anyway, and pyarrow cannot read a dictionary inside a struct across
    row groups ("Nested data conversions not implemented for chunked array outputs").

    Raises:
        SchemaError: a type that cannot be kept; names it and the remedy.
    """
    return _stored("", arrow_type)


def _stored(name: str, arrow_type: Any) -> Any:
    kind = lasting_type(arrow_type)
    if isinstance(kind, Refused):
        raise SchemaError(refusal(name, kind))
    return kind


def _stored_struct(name: str, arrow_type: Any) -> pa.Field:
    """A column of the rank files; its fields are the columns that people know, so they are named and counted alone."""
    return pa.field(name, pa.struct([f.with_type(_stored(f"{name}.{f.name}", f.type)) for f in arrow_type]))


SOURCE_STORED = stored_type(SOURCE_TYPE)
REJECTED_SCHEMA = pa.schema(
    [pa.field("file", pa.string(), nullable=False), pa.field("row", pa.int64(), nullable=False),
     pa.field("reason", pa.string(), nullable=False), pa.field("raw", pa.string())]
)  # fmt: skip
"""Columns of ``rejected-N.parquet``: which input row, why it gave no output row, its text where it was unreadable."""


def rank_schema(inputs: pa.Schema, predictions: pa.StructType, keep: bool | Sequence[str] = True) -> pa.Schema:
    """The schema of every rank file of a folder.

    Args:
        inputs: the snapshot's schema.
        predictions: the type of the ``predictions`` column, with one child for each schema address.
        keep: which input columns are kept: True keeps all, False none (then there is no ``inputs`` column), a list of
            names keeps these, in the snapshot's order.

    Raises:
        SchemaError: ``keep`` names an unknown column, a type cannot be kept (see `json2vec.reading.lasting`), or a
            struct has no fields, which Parquet cannot hold.
    """
    names = inputs.names if keep is True else [] if keep is False else list(keep)
    if unknown := [name for name in names if name not in inputs.names]:
        raise SchemaError(f"inputs={unknown} are not columns of the input; it has {inputs.names}")
    chosen = pa.struct([inputs.field(name) for name in inputs.names if name in set(names)])
    columns = [_stored_struct("predictions", predictions), pa.field("source", SOURCE_STORED, nullable=False)]
    if chosen.num_fields:
        columns.insert(0, _stored_struct("inputs", chosen))
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
        if inner := _empty_struct(child):
            return f"{column.name}.{inner}"
    return None


def _children(arrow_type: pa.DataType) -> list[pa.Field]:
    if pa.types.is_map(arrow_type):
        return [arrow_type.key_field, arrow_type.item_field]
    return [arrow_type.field(i) for i in range(arrow_type.num_fields)]


def schema_digest(schema: pa.Schema) -> str:
    """SHA-256 (hex) over names, types and nullability, spelled the same by every pyarrow version."""
    return hashlib.sha256("\n".join(map(_describe, schema)).encode()).hexdigest()


def _describe(column: pa.Field) -> str:
    inner = ",".join(map(_describe, _children(column.type)))
    described = f"{str(column.type).partition('<')[0]}<{inner}>" if inner else str(column.type)
    if pa.types.is_fixed_size_list(column.type):
        described += f"[{column.type.list_size}]"
    # The name of a list's item says nothing and differs between libraries ("item", "element").
    anonymous = column.name in ("item", "element", "entries")
    name = "" if anonymous else column.name.replace("\\", "\\\\").replace(",", "\\,")
    return f"{name}:{described}{'' if column.nullable else '!'}"


# -- columns that must fit ---------------------------------------------------------------------------------------------


def fit_array(array: pa.Array, arrow_type: pa.DataType, subject: str, row_name: Callable[[int], str]) -> pa.Array:
    """``array`` as ``arrow_type``, where only the encoding differs (a dictionary, the name of a list's item) or a type
    does not last (``timestamp[s]`` becomes ``timestamp[ms]``).

    Args:
        array: N values.
        arrow_type: the type that the schema has.
        subject: what the values are, such as ``column 'predictions'``; begins the message of an error.
        row_name: a function from the index of a row to its name in messages.

    Raises:
        ProcessorError: the array is of another type, or has a value that does not last; the message names the column
            and the batch's first row or the row of the value.
    """
    if array.type == arrow_type:
        return array
    stored = lasting_type(array.type)
    if isinstance(stored, Refused):
        raise SchemaError(refusal(subject, stored))
    if stored.equals(arrow_type) or _describe(pa.field("", stored)) == _describe(pa.field("", arrow_type)):
        return _lasting(array, stored, subject, row_name).cast(arrow_type)
    where = f" of {row_name(0)}" if len(array) else ""
    raise ProcessorError(f"{subject}{where} {_REFUSAL.format(expected=arrow_type, actual=array.type)}")


def _lasting(array: Any, stored: pa.DataType, subject: str, row_name: Callable[[int], str]) -> Any:
    try:
        return cast(array, stored)
    except pa.ArrowException as exc:
        for row in range(len(array)):
            try:
                cast(array.slice(row, 1), stored)
            except pa.ArrowException:
                raise ProcessorError(
                    f"{subject} of {row_name(row)} holds {shown(array[row])} of type {array.type}; expected a value "
                    f"that {stored} holds exactly, as that is what lasts. Remedy: return a type with room for it"
                ) from exc
        raise


_REFUSAL = (
    "does not fit the schema that was fixed before the first batch: expected {expected}, found {actual}. "
    "Nothing was dropped or converted. Remedy: declare the type with schema="
)


def fit_values(
    values: Sequence[object], arrow_type: pa.DataType, subject: str, row_name: Callable[[int], str]
) -> pa.Array:
    """Python values as an array. Nulls, narrower numbers and absent struct keys fit, nothing else does.

    Args:
        values: N values.
        arrow_type: the type that the schema has.
        subject: what the values are, such as ``column 'predictions'``; begins the message of an error.
        row_name: a function from the index of a row to its name in messages.

    Raises:
        ProcessorError: a value does not fit; the message names the first row of such a value.
    """
    try:
        return _fit_values(values, arrow_type)
    except _MISFITS as exc:
        for index in range(len(values)):
            try:
                _fit_values(values[index : index + 1], arrow_type)
            except _MISFITS as misfit:
                refusal = _REFUSAL.format(expected=arrow_type, actual=f"{shown(values[index])} ({misfit})")
                raise ProcessorError(f"{subject} of {row_name(index)} {refusal}") from misfit
        actual = f"values of several types, each of which fits by itself ({exc})"
        refusal = _REFUSAL.format(expected=arrow_type, actual=actual)
        raise ProcessorError(f"{subject} of {row_name(0)} and the {len(values) - 1} rows after it {refusal}") from exc


# What Arrow and Python raise for a value, and what a value of a class of the user's may.
_MISFITS = (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError, RuntimeError)


def _fit_values(values: Sequence[object], arrow_type: pa.DataType) -> pa.Array:
    if too_deep(values):
        raise ValueError(depth_message())
    if _has_map(arrow_type):  # Python dicts are taken for structs, unless the type is said
        for value in values:
            _check_maps(value, arrow_type)
        return pa.array(values, arrow_type)
    inferred = pa.array(values)
    if not _widens(inferred.type, arrow_type):
        raise TypeError(f"type {inferred.type}")
    # Not inferred.cast(arrow_type): struct casts want the same fields, and `values` may lack some.
    return pa.array(values, arrow_type)


def _has_map(arrow_type: pa.DataType) -> bool:
    return pa.types.is_map(arrow_type) or any(_has_map(child.type) for child in _children(arrow_type))


def _check_maps(value: Any, arrow_type: Any) -> None:
    """Raise TypeError where a map is no dict and no list of pairs: Arrow would end the process for some others."""
    if value is None or not _has_map(arrow_type):
        return
    if pa.types.is_map(arrow_type):
        pairs = list(value.items()) if isinstance(value, Mapping) else value
        if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
            raise TypeError(f"{type(value).__name__} is no mapping")
        for key, item in pairs:
            if key is None:
                raise TypeError("a mapping has the key None")
            _check_maps(item, arrow_type.item_type)
    elif pa.types.is_struct(arrow_type) and isinstance(value, Mapping):
        for child in arrow_type:
            _check_maps(value.get(child.name), child.type)
    elif pa.types.is_nested(arrow_type) and isinstance(value, list | tuple):
        for item in value:
            _check_maps(item, arrow_type.value_type)


def _widens(inferred: pa.DataType, wider: pa.DataType) -> bool:
    """Whether every value of ``inferred`` is one of ``wider``. pyarrow on its own would cut 1.5 to 1 and drop keys."""
    types = pa.types
    if types.is_null(inferred) or inferred == wider:
        return True
    if types.is_struct(inferred):
        return types.is_struct(wider) and all(
            (i := wider.get_field_index(field.name)) >= 0 and _widens(field.type, wider.field(i).type)
            for field in inferred
        )
    if types.is_list(inferred):
        nested = types.is_list(wider) or types.is_large_list(wider) or types.is_fixed_size_list(wider)
        return nested and _widens(inferred.value_type, wider.value_type)
    if types.is_integer(inferred):
        return types.is_integer(wider) or types.is_floating(wider)  # out of range is an error of pa.array's own
    if types.is_floating(inferred):
        return types.is_floating(wider)
    if types.is_string(inferred):
        return types.is_large_string(wider)
    if types.is_binary(inferred):
        return types.is_large_binary(wider) or types.is_fixed_size_binary(wider)
    if types.is_temporal(inferred):
        return inferred.id == wider.id
    return types.is_decimal(inferred) and types.is_decimal(wider)


def infer_type(values: Sequence[object], subject: str) -> pa.DataType:
    """The Arrow type of a postprocessor's column, from the plan's first batch.

    Args:
        values: the column's values in that batch.
        subject: what the values are; begins the message of an error.

    Raises:
        ProcessorError: the values are of several types.
    """
    try:
        if too_deep(values):
            raise ValueError(depth_message())
        return pa.array(values).type
    except _MISFITS as exc:
        raise ProcessorError(f"{subject}: cannot tell one type from its values: {exc}. Remedy: schema=") from exc


def check_lengths(rows: int, where: str, **columns: int) -> None:
    """Raise `AlignmentError` naming the first of ``columns`` (name to length) that is not ``rows`` long."""
    for name, length in columns.items():
        if length != rows:
            raise AlignmentError(
                f"{name} has {length} rows where {where} has {rows}: every column must hold one value for each row. "
                "Nothing of this batch was written"
            )

