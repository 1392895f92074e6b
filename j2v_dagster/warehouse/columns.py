"""Flat table columns out of nested rank files: the path syntax, and the projection of record batches.

A path names one value of a row:

    inputs.observation_id                               a column of the row as read, and structs below it
    predictions["record/day_delay"].content.value       what was predicted for a schema address
    source.file, source.row                             where the row came from
    manifest.attempt                                    a constant of the folder: attempt, model, snapshot or created

A name of letters, digits and underscores follows a dot; any other name stands in ``["..."]``, where ``\\"`` and
``\\\\`` stand for a quote and a backslash. A path that ends at a list or a struct gives a nested column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

ROOTS = ("inputs", "predictions", "source", "manifest")
MANIFEST_CONSTANTS = ("attempt", "model", "snapshot", "created")
_STEP = re.compile(r'\.?([A-Za-z_][A-Za-z0-9_]*)|\[("(?:[^"\\]|\\.)*")\]')


class ColumnPathError(ValueError):
    """A column mapping that cannot be meant, or that names what the rank files do not hold."""


@dataclass(frozen=True)
class ColumnPath:
    """One parsed path; ``parts[0]`` is one of `ROOTS`."""

    text: str
    parts: tuple[str, ...]

    @property
    def root(self) -> str:
        return self.parts[0]


def parse_path(text: str) -> ColumnPath:
    """Parse a path.

    Raises:
        ColumnPathError: not the syntax of this module; names the place.
    """
    parts: list[str] = []
    position = 0
    while position < len(text):
        step = _STEP.match(text, position)
        # A plain name needs its dot everywhere but at the beginning.
        if not step or (step.group(1) and (text[position] == ".") != (position > 0)):
            raise ColumnPathError(
                f'column path {text!r}: cannot read on at character {position + 1}; expected .name or ["any name"], '
                'as in predictions["record/label"].content.value'
            )
        parts.append(step.group(1) or json.loads(step.group(2)))
        position = step.end()
    if not parts or parts[0] not in ROOTS or len(parts) < 2:
        raise ColumnPathError(f"column path {text!r}: expected one of {', '.join(ROOTS)}, then at least one name")
    if parts[0] == "manifest" and (len(parts) != 2 or parts[1] not in MANIFEST_CONSTANTS):
        raise ColumnPathError(f"column path {text!r}: manifest holds {', '.join(MANIFEST_CONSTANTS)}")
    return ColumnPath(text, tuple(parts))


def parse_columns(columns: Mapping[str, str], *, partition_column: str) -> dict[str, ColumnPath]:
    """Parse a mapping of column names to paths.

    Raises:
        ColumnPathError: no column; a bad path; names that differ in case only (warehouses do not tell them apart);
            or a name that is the partition column's.
    """
    if not columns:
        raise ColumnPathError('columns is empty; expected a mapping such as {"id": "inputs.id"}')
    seen = {partition_column.casefold(): partition_column}
    for name in columns:
        namesake = seen.get(name.casefold())
        if not name or "\0" in name or namesake is not None:
            reason = "is no name" if namesake is None else f"clashes with {namesake!r}"
            raise ColumnPathError(
                f"column {name!r} {reason}; expected non-empty names that differ in more than case, "
                f"none of them the partition column {partition_column!r}"
            )
        seen[name.casefold()] = name
    return {name: parse_path(path) for name, path in columns.items()}


@dataclass(frozen=True)
class Projection:
    """Parsed columns bound to the schema of one prediction folder.

    Attributes:
        columns: path by column name.
        schema: the flat columns' Arrow schema, dictionaries decoded.
        constants: values of ``manifest`` paths, by their name.
    """

    columns: Mapping[str, ColumnPath]
    schema: pa.Schema
    constants: Mapping[str, str]

    def batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The flat columns of each batch, row by row the same rows."""
        for batch in batches:
            arrays = [self._column(batch, name) for name in self.schema.names]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _column(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        path, arrow_type = self.columns[name], self.schema.field(name).type
        if path.root == "manifest":
            return pa.repeat(pa.scalar(self.constants[path.parts[1]], arrow_type), batch.num_rows)
        array = batch.column(path.root)
        for part in path.parts[1:]:
            # struct_field, not StructArray.field: that one forgets the parents' nulls.
            array = pc.struct_field(array, [array.type.get_field_index(part)])  # pyright: ignore[reportAttributeAccessIssue]
        return array if array.type == arrow_type else array.cast(arrow_type)


def project(columns: Mapping[str, ColumnPath], schema: pa.Schema, constants: Mapping[str, str]) -> Projection:
    """Bind ``columns`` to the schema of rank files.

    Raises:
        ColumnPathError: a path that the rank files do not hold (names the column, the path and what is there), or one
            whose type is unknown because every value is null.
    """
    fields = []
    for name, path in columns.items():
        arrow_type = pa.string() if path.root == "manifest" else _resolve(name, path, schema)
        if pa.types.is_null(arrow_type):
            raise ColumnPathError(
                f"column {name!r}, path {path.text}: every value of this input is null, so its type is unknown. "
                "Remedy: give the shards a typed column (Parquet) or declare input_schema"
            )
        fields.append(pa.field(name, arrow_type))
    return Projection(columns, pa.schema(fields), constants)


def _resolve(name: str, path: ColumnPath, schema: pa.Schema) -> pa.DataType:
    arrow_type: pa.DataType = pa.struct(list(schema))
    for depth, part in enumerate(path.parts):
        names = [child.name for child in arrow_type] if pa.types.is_struct(arrow_type) else []
        if part not in names:
            where = ".".join(path.parts[:depth]) or "the rank files"
            raise ColumnPathError(
                f"column {name!r}, path {path.text}: {where} "
                + (f"holds {', '.join(map(repr, names))}" if names else f"is {arrow_type}, not a struct")
                + f"; there is no {part!r}. Remedy: correct the column mapping"
            )
        arrow_type = arrow_type.field(part).type
    return _decoded(arrow_type)


def _decoded(arrow_type: pa.DataType) -> pa.DataType:
    return arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type
