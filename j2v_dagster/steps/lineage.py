"""Column schemas and column lineage: from input columns through schema addresses to table columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from j2v_dagster.warehouse.columns import ColumnPath

if TYPE_CHECKING:
    import pyarrow as pa


def column_schema(schema: pa.Schema, descriptions: Mapping[str, str] | None = None) -> dg.TableSchema:
    """An Arrow schema as Dagster shows it; a struct's children follow it, named with their dotted path.

    Args:
        schema: the Arrow schema.
        descriptions: a text for each column that has one, by the column's name.
    """
    columns: list[dg.TableColumn] = []

    def add(name: str, arrow_type: pa.DataType, nullable: bool, depth: int) -> None:
        import pyarrow as pa

        nested = pa.types.is_struct(arrow_type) and depth < 2
        columns.append(
            dg.TableColumn(
                name=name,
                type="struct" if nested else str(arrow_type),
                description=(descriptions or {}).get(name),
                constraints=dg.TableColumnConstraints(nullable=nullable),
            )
        )
        if nested:
            for child in arrow_type:
                add(step(name, child.name), child.type, child.nullable, depth + 1)

    for field in schema:
        add(field.name, field.type, field.nullable, 0)
    return dg.TableSchema(columns=columns)


def step(parent: str, name: str) -> str:
    """``parent`` and one more name, in the syntax of `j2v_dagster.warehouse.columns`."""
    import json

    return f"{parent}.{name}" if name.isidentifier() and name.isascii() else f"{parent}[{json.dumps(name)}]"


def columns_read(schema: Mapping[str, Any], inputs: Sequence[str]) -> list[str]:
    """The input columns that a model reads to predict.

    Args:
        schema: the model's schema as its checkpoint holds it: what `Schema.to_dict` returns.
        inputs: the names of the shards' columns. All of them are returned where the schema cannot tell: it has a
            custom field type, or a query outside the columnar syntax.
    """
    from json2vec.errors import SchemaError
    from json2vec.schema.schema import Schema

    try:
        parsed = Schema.from_dict(dict(schema))
        steps = [parsed.query(address).steps for address in parsed.inputs]
    except (SchemaError, ValueError):
        return list(inputs)
    if any(not query_steps for query_steps in steps):
        return list(inputs)
    first = {query_steps[0] for query_steps in steps if query_steps}
    return [name for name in inputs if name in first]


def rank_file_lineage(
    inputs: Iterable[str], addresses: Iterable[str], *, shards: dg.AssetKey, read: Sequence[str]
) -> dg.TableColumnLineage:
    """Which input columns each column of the rank files comes from.

    Args:
        inputs: names of the input columns that the rank files keep.
        addresses: the schema addresses that are predicted, which are the children of the column ``predictions``.
        shards: the asset that holds the input columns.
        read: names of the input columns that the model reads; every prediction depends on all of them.
    """
    deps: dict[str, list[dg.TableColumnDep]] = {
        step("inputs", name): [dg.TableColumnDep(asset_key=shards, column_name=name)] for name in inputs
    }
    for address in addresses:
        deps[step("predictions", address)] = [dg.TableColumnDep(asset_key=shards, column_name=name) for name in read]
    return dg.TableColumnLineage(deps)


def table_lineage(columns: Mapping[str, ColumnPath], *, rank_files: dg.AssetKey) -> dg.TableColumnLineage:
    """Which column of the rank files (``inputs.x``, ``predictions["address"]``) each table column comes from.

    Args:
        columns: the path in the rank files of each table column, by the column's name.
        rank_files: the asset that holds the rank files.
    """
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(asset_key=rank_files, column_name=step(path.root, path.parts[1]))]
            for name, path in columns.items()
            if path.root != "manifest"
        }
    )
