"""Arrow rows as Python dicts, for user functions and queries that take no columns.

Arrow holds dates of the year 12000 and times of the nanosecond, Python does not: such a value is an error of its row.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from json2vec.reading.conform import first_failing
from json2vec.reading.exact import shown

__all__ = ["NoPythonValue", "python_rows", "shown_row"]

_FAILS = (ValueError, OverflowError, pa.ArrowException)


class NoPythonValue(ValueError):
    """A value that Python cannot hold; ``row`` is the index of its row."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


def python_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of ``batch``, each as a dict.

    Raises:
        NoPythonValue: a value that Python cannot hold; names its column.
    """
    try:
        return batch.to_pylist()
    except _FAILS as exc:
        rows = {name: first_failing(len(c), lambda a, b, c=c: _holds(c.slice(a, b - a)))
                for name, c in zip(batch.schema.names, batch.columns, strict=True) if not _holds(c)}  # fmt: skip
        if not rows:
            raise
        name = min(rows, key=lambda name: rows[name])
        value = batch.column(batch.schema.get_field_index(name))[rows[name]]
        raise NoPythonValue(
            f"column {name!r} holds {shown(value)}, for which Python has no value ({exc})", rows[name]
        ) from exc


def shown_row(batch: pa.RecordBatch, index: int) -> dict[str, Any]:
    """A row as a dict for messages: a value that Python cannot hold as its number and type."""
    columns = zip(batch.schema.names, (column.slice(index, 1) for column in batch.columns), strict=True)
    return {name: one.to_pylist()[0] if _holds(one) else shown(one[0]) for name, one in columns}


def _holds(column: pa.Array) -> bool:
    try:
        column.to_pylist()
    except _FAILS:
        return False
    return True
