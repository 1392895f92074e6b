"""One schema for many files: unify their schemas, and bring every batch to the unified one without losing anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from json2vec.errors import ReadError
from json2vec.reading.plain import lists, plain, plain_schema, spans


def text_type(kind: pa.DataType) -> pa.DataType:
    """``kind``, as inferred from JSON, with its times as text: JSON has none, and a text must stay what it was."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, text_type(f.type)) for f in kind])
    if pa.types.is_list(kind):
        return pa.list_(pa.field("item", text_type(kind.value_type)))
    return pa.string() if pa.types.is_temporal(kind) else kind


class Unifier:
    """Unites schemas one after the other, in order of first appearance of their columns.

    Args:
        text: columns whose types clash become text, as in CSV, where everything is text to begin with.
    """

    def __init__(self, *, text: bool = False) -> None:
        self.schema = pa.schema([])
        self._seen: list[pa.Schema] = []  # the last few raw schemas: most files of a folder share one
        self._text = text

    def add(self, schema: pa.Schema, where: str) -> None:
        """Unite with ``schema``, found in the file ``where``.

        Raises:
            ReadError: a column occurs twice, or has types that cannot be promoted to a common one; names both.
        """
        if any(schema.equals(one) for one in self._seen):
            return
        if len(set(schema.names)) < len(schema):
            twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
            raise ReadError(f"{where}: columns {twice} occur more than once. Remedy: rename them")
        plain = plain_schema(schema)
        try:
            self.schema = pa.unify_schemas([self.schema, plain], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            self.schema = self._by_column(plain, where)
        self._seen = [*self._seen[-3:], schema]

    def _by_column(self, schema: pa.Schema, where: str) -> pa.Schema:
        fields = {f.name: f for f in self.schema}
        for new in schema:
            old = fields.setdefault(new.name, new)
            try:
                fields[new.name] = pa.unify_schemas(
                    [pa.schema([old]), pa.schema([new])], promote_options="permissive"
                ).field(0)
            except (pa.ArrowTypeError, pa.ArrowInvalid) as exc:
                if self._text:
                    fields[new.name] = pa.field(new.name, pa.string())
                    continue
                raise ReadError(
                    f"{where}: column {new.name!r} has type {new.type}; earlier rows or files have {old.type}, and "
                    f"neither holds the other ({exc}). Remedy: write both alike, or say input_schema="
                ) from exc
        return pa.schema(list(fields.values()))


def conform(batch: pa.RecordBatch, schema: pa.Schema, where: Callable[[int], str]) -> pa.RecordBatch:
    """``batch`` with exactly the columns of ``schema``: absent ones are null, types are cast where nothing is lost.

    Args:
        batch: N rows.
        where: names file and row of a row of ``batch``, for messages.

    Raises:
        ReadError: a value that its column's type cannot hold exactly; names file, row and address of the value.
    """
    if batch.schema.equals(schema):
        return batch
    if not len(schema):
        return pa.RecordBatch.from_struct_array(pa.array([{}] * batch.num_rows, pa.struct([])))
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(index)
        try:
            columns.append(_cast(column, field.type))
        except (pa.ArrowException, NotImplementedError) as exc:
            row = first_failing(len(column), lambda a, b, c=column, t=field.type: _casts(c.slice(a, b - a), t))
            raise ReadError(
                f"{where(row)}: column {field.name!r} holds {_excerpt(column[row])} of type {column.type}; expected "
                f"a value that {field.type} holds exactly ({exc}). Remedy: mend the row, or say input_schema="
            ) from exc
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def first_failing(n: int, good: Callable[[int, int], bool]) -> int:
    """The first index of 0..n-1 that makes ``good(start, stop)`` false for ranges that hold it."""
    start, stop = 0, n
    while stop - start > 1:
        middle = (start + stop) // 2
        start, stop = (middle, stop) if good(start, middle) else (start, middle)
    return start


def _casts(column: pa.Array, kind: pa.DataType) -> bool:
    try:
        _cast(column, kind)
    except (pa.ArrowException, NotImplementedError):
        return False
    return True


def _excerpt(value: pa.Scalar) -> str:
    text = repr(value.as_py())
    return text if len(text) <= 80 else text[:77] + "..."


def _cast(array: Any, kind: Any) -> Any:
    """Like ``array.cast``, but struct children go by name, and absent ones are null."""
    have = array.type
    if have.equals(kind):
        return array
    array = plain(array)
    have = array.type
    if have.equals(kind):
        return array
    if pa.types.is_null(kind) and array.null_count == len(array):
        return pa.nulls(len(array))  # a CSV column without values is inferred as null and read as text
    if pa.types.is_struct(have) and pa.types.is_struct(kind):
        position = {f.name: i for i, f in enumerate(have)}
        children = [
            _cast(array.field(position[f.name]), f.type) if f.name in position else pa.nulls(len(array), f.type)
            for f in kind
        ]
        mask = array.is_null() if array.null_count else None
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
    if not (pa.types.is_nested(have) and pa.types.is_nested(kind)) or pa.types.is_null(have):
        return array.cast(kind)
    variable = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if variable and (pa.types.is_list(have) or pa.types.is_large_list(have)):
        offsets, begin, end = spans(array)
        values = _cast(array.values.slice(begin, end - begin), kind.value_type)
        return lists(offsets, values, kind, array.is_null() if array.null_count else None)
    return array.cast(kind)
