"""One schema for many files: unify their schemas, and bring every batch to the unified one without losing anything."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from json2vec.errors import ReadError
from json2vec.reading.exact import cast, shown
from json2vec.reading.lasting import Refused, lasting_schema, lasting_type
from json2vec.reading.plain import plain_schema
from json2vec.reading.unite import unite


def text_type(kind: pa.DataType) -> pa.DataType:
    """``kind``, as inferred from JSON, with its times as text: JSON has none, and a text must stay what it was."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, text_type(f.type)) for f in kind])
    if pa.types.is_list(kind):
        return pa.list_(pa.field("item", text_type(kind.value_type)))
    return pa.string() if pa.types.is_temporal(kind) else kind


class Unifier:
    """Unites schemas one after the other, in types that last, in order of first appearance of their columns.

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
            ReadError: a column occurs twice, has a type that cannot be kept, or types that cannot be promoted to a
                common one; names both.
        """
        if any(schema.equals(one) for one in self._seen):
            return
        if len(set(schema.names)) < len(schema):
            twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
            raise ReadError(f"{where}: columns {twice} occur more than once. Remedy: rename them")
        plain = lasting_schema(plain_schema(schema), where)
        fields = {f.name: f for f in self.schema}
        for new in plain:
            old = fields.setdefault(new.name, new)
            kind = unite(old.type, new.type)
            if kind is not None:  # two decimals may make one that is too wide
                made = lasting_type(kind, zones=True)
                kind = None if isinstance(made, Refused) else made
            if kind is None and self._text:
                kind = pa.string()
            if kind is None:
                raise ReadError(
                    f"{where}: column {new.name!r} has type {new.type}; earlier rows or files have {old.type}, and "
                    "neither holds the other. Remedy: write both alike, or say input_schema="
                )
            fields[new.name] = old if kind.equals(old.type) else pa.field(new.name, kind)
        self.schema = pa.schema(list(fields.values()))
        self._seen = [*self._seen[-3:], schema]


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
            columns.append(cast(column, field.type))
        except (pa.ArrowException, NotImplementedError) as exc:
            row = first_failing(len(column), lambda a, b, c=column, t=field.type: _casts(c.slice(a, b - a), t))
            raise ReadError(
                f"{where(row)}: column {field.name!r} holds {shown(column[row])} of type {column.type}; expected "
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
        cast(column, kind)
    except (pa.ArrowException, NotImplementedError):
        return False
    return True
