"""Columns that are made of folder names: ``dt`` and ``region`` of ``dt=2024-01-01/region=eu/part.parquet``.

They are columns like any other: hashed, kept as inputs, verified. A file may hold such a column itself, as long as it
says the same: a null there takes the folder's value, another value is an error.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute

from json2vec.errors import ReadError
from json2vec.reading.exact import cast, shown

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
NULL = "__HIVE_DEFAULT_PARTITION__"
"""The folder name of rows whose column is null."""


def folder_values(where: str, names: Sequence[str]) -> dict[str, str | None]:
    """What the folders of a file say.

    Args:
        where: the file's address; the folder nearest to the file wins.
        names: of the columns.

    Raises:
        ReadError: no folder is called ``NAME=...``; names the file and the column.
    """
    said = dict(part.split("=", 1) for part in posixpath.dirname(where).split("/") if "=" in part)
    missing = [name for name in names if name not in said]
    if missing:
        raise ReadError(
            f"{where}: no folder of it is called {missing[0]}=...; folder_columns= asks for the column {missing[0]!r}. "
            f"Remedy: move the file below a folder {missing[0]}=VALUE, or leave the name out of folder_columns="
        )
    return {name: None if said[name] == NULL else unquote(said[name]) for name in names}


def with_folder_columns(
    batch: pa.RecordBatch, values: Mapping[str, str | None], schema: pa.Schema, where: Callable[[int], str]
) -> pa.RecordBatch:
    """``batch`` with the columns that its folders say.

    Args:
        batch: N rows of one file, with any columns.
        values: of `folder_values`.
        schema: the types of the columns.
        where: names file and row of a row of ``batch``, for messages.

    Raises:
        ReadError: a value that its column's type cannot hold, or another value in the file; names file and row.
    """
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    for name, text in values.items():
        kind = schema.field(name).type
        try:
            value = cast(pa.array([text], pa.string()), kind)[0]
            made = pa.nulls(batch.num_rows, kind) if not value.is_valid else pa.repeat(value, batch.num_rows)
            own = cast(columns[name], kind) if name in columns else made
        except (pa.ArrowException, NotImplementedError) as exc:
            raise ReadError(
                f"{where(0)}: column {name!r} of its folder is {text!r}; expected a value that {kind} holds exactly "
                f"({exc}). Remedy: say another type for it with input_schema="
            ) from exc
        # A null of the file agrees with any folder.
        other = pc.and_(own.is_valid(), pc.invert(pc.fill_null(pc.equal(own, made), False)))
        if row := pc.index(other, True).as_py() + 1:
            raise ReadError(
                f"{where(row - 1)}: column {name!r} is {shown(own[row - 1])} in the file; its folder says {text!r}. "
                "Remedy: move the file to the folder of its values, or leave the name out of folder_columns="
            )
        columns[name] = made
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
