"""What every warehouse refuses, in the same words: a wrong number of rows, and other columns than the table has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from j2v_dagster.warehouse.base import WarehouseError


def check_rows(where: str, arrived: int, rows: int) -> None:
    """Compare the number of rows that arrived with the manifest's, before anything becomes visible.

    Args:
        where: begins the message: ``table URI, partition KEY``.
        arrived: rows that arrived.
        rows: rows that the manifest promises.

    Raises:
        WarehouseError: they differ.
    """
    if arrived != rows:
        raise WarehouseError(f"{where}: {arrived} rows arrived; expected the manifest's {rows}. Nothing was changed")


def describe_drift(
    where: str,
    expected: Mapping[str, str],
    existing: Mapping[str, str],
    *,
    add: Callable[[str, str], str] = lambda column, new: f"add column {column!r}",
    extra: Callable[[str], str] = lambda column: f"map column {column!r} as well",
    change: Callable[[str, str], str] = lambda column, new: f"give column {column!r} another name in the mapping",
    how: str = "{}",
) -> str:
    """The message of a `SchemaDrift`: every column that differs, and what to do about it.

    Args:
        where: the table's address.
        expected: the type to load, by column, as the warehouse spells types.
        existing: the type that the table has, by column.
        add: the remedy for a column that the table lacks, of its name and its type.
        extra: the remedy for a column that is only in the table, of its name. Somebody made it: never to delete it.
        change: the remedy for a column of another type, of its name and the new type.
        how: is put around the remedies, which take the place of ``{}``.
    """
    lines, remedies = [], []
    for column in {**expected, **existing}:
        new, old = expected.get(column), existing.get(column)
        if old is None:
            lines.append(f"column {column!r} ({new}) is not in the table")
            remedies.append(add(column, str(new)))
        elif new is None:
            lines.append(f"the table's column {column!r} ({old}) is not in the mapping")
            remedies.append(extra(column))
        elif new != old:
            lines.append(f"column {column!r} is {old} in the table and {new} in the predictions")
            remedies.append(change(column, new))
    return (
        f"table {where} does not have the columns to load: {'; '.join(lines)}. Nothing was changed. Remedy: load into "
        f"another table, correct the mapping, or {how.replace('{}', '; '.join(remedies), 1)}"
    )
