"""How DuckDB compares names and types, and which of its columns a load may leave alone.

DuckDB takes two names for one that differ in the case of ASCII letters, and in nothing else: ``ID`` is ``id``, ``É`` is
not ``é``. Fields of a struct are compared likewise.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
from duckdb.sqltypes import DuckDBPyType

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_PLAIN = re.compile(r'"([A-Za-z_][A-Za-z0-9_]*)"')
_WIDER = {
    "TINYINT": ("SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    "SMALLINT": ("INTEGER", "BIGINT", "HUGEINT"),
    "INTEGER": ("BIGINT", "HUGEINT"),
    "BIGINT": ("HUGEINT",),
    "UTINYINT": ("SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "USMALLINT", "UINTEGER", "UBIGINT"),
    "USMALLINT": ("INTEGER", "BIGINT", "HUGEINT", "UINTEGER", "UBIGINT"),
    "UINTEGER": ("BIGINT", "HUGEINT", "UBIGINT"),
    "UBIGINT": ("HUGEINT",),
    "FLOAT": ("DOUBLE",),
}
"""The types that hold every value of a type. DuckDB's own implicit casts are more: some lose digits, some fail."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: as the table spells it.
        type: as DuckDB spells it.
        generated: whether it is computed from others.
        default: the expression that fills it where a load says nothing; None where there is none.
        nullable: whether it may hold null.
    """

    name: str
    type: str
    generated: bool = False
    default: str | None = None
    nullable: bool = True

    @property
    def fills_itself(self) -> bool:
        """Whether a row is whole without a value for it, by the word of whoever made it."""
        return self.generated or self.default is not None


def fold(name: str) -> str:
    """What two names have in common if DuckDB takes them for one."""
    return name.translate(_LOWER)


def fold_type(name: str) -> str:
    """What two types have in common if they differ at most in the case of the names in them."""
    return fold(_PLAIN.sub(r"\1", name))


def table_columns(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> list[Column]:
    """The columns of a table, in their order; empty where there is no such table."""
    found = connection.execute(
        "SELECT schema_name, table_name, column_name, data_type, is_generated, column_default, is_nullable "
        "FROM duckdb_columns() WHERE database_name = current_database() "
        "AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?) ORDER BY column_index",
        [schema, table],
    ).fetchall()
    wanted = (fold(schema), fold(table))
    return [Column(*values) for in_schema, in_table, *values in found if (fold(in_schema), fold(in_table)) == wanted]


def compared(expected: Mapping[str, str], columns: list[Column]) -> dict[str, str]:
    """The type of each column that a load and a table have to agree about, by name, both as the load spells them.

    Left out are columns that the load does not name and that fill themselves. A type that differs in case only is
    spelled as in ``expected``. A generated column that the load names is there with ``GENERATED``, a type that no load
    has.
    """
    spelled = {fold(name): name for name in expected}
    types = {}
    for column in columns:
        name = spelled.get(fold(column.name))
        if name is None:
            if not column.fills_itself:
                types[column.name] = column.type
        elif column.generated:
            types[name] = f"{column.type} GENERATED"
        else:
            same = fold_type(column.type) == fold_type(expected[name])
            types[name] = expected[name] if same else column.type
    return types


def keeps_values(connection: duckdb.DuckDBPyConnection, old: str, new: str) -> bool:
    """Whether every value of the type ``old`` is the same value in the type ``new``."""
    if old.endswith(" GENERATED"):
        return False
    return _keeps(connection.type(old), connection.type(new))


def _keeps(old: DuckDBPyType, new: DuckDBPyType) -> bool:
    if old == new:
        return True
    if old.id != new.id or old.id not in ("struct", "list", "map"):
        return str(new) in _WIDER.get(str(old), ())
    before, after = _children(old), _children(new)
    return before.keys() <= after.keys() and all(_keeps(before[name], after[name]) for name in before)


def _children(nested: DuckDBPyType) -> dict[str, DuckDBPyType]:
    return {fold(name): child for name, child in nested.children if isinstance(child, DuckDBPyType)}
