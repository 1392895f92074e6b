"""Running a preprocessor over Arrow rows: observations back in Arrow, and which row each came from."""

from __future__ import annotations

import bisect
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from json2vec.enums import Strata
from json2vec.errors import ProcessorError, ReadError
from json2vec.processors import ROW_COLUMN, Preprocessor
from json2vec.reading.conform import conform
from json2vec.reading.exact import shown
from json2vec.reading.limits import depth_message, first_too_deep
from json2vec.reading.plain import plain, plain_schema
from json2vec.reading.records import has_inexact_times, records, values
from json2vec.reading.unite import unite_schemas

_MISFITS = (pa.ArrowException, ReadError, TypeError, ValueError, OverflowError)


class PreprocessorRun:
    """One pass of a preprocessor over rows, holding the schema that its first rows gave.

    Args:
        preprocessor: what to run.
        strata: told to functions that take it.
    """

    def __init__(self, preprocessor: Preprocessor, strata: Strata | str = Strata.predict) -> None:
        self._made = preprocessor
        self._kwargs = preprocessor.call_kwargs(strata)
        self._schema = preprocessor.schema
        self.columnar = preprocessor.columnar

    def __call__(self, batch: pa.RecordBatch, where: Callable[[int], str]) -> tuple[pa.RecordBatch, np.ndarray]:
        """Observations of ``batch``, and int64 (observations,), ascending: the row of ``batch`` each came from.

        Args:
            where: names file and row of a row of ``batch``, for messages.

        Raises:
            ProcessorError: the function raised, returned what it may not, or a row does not fit the schema.
        """
        return (self._columnar if self._made.columnar else self._by_row)(batch, where)

    def _by_row(self, batch: pa.RecordBatch, where: Callable[[int], str]) -> tuple[pa.RecordBatch, np.ndarray]:
        outputs: list[dict[str, Any]] = []
        origin: list[int] = []
        rows = records(batch)
        inexact = _inexact_columns(batch, rows)
        for i, row in enumerate(rows):
            try:
                result = self._made.function(row, **self._kwargs)
                results = self._several(result, i, where) if self._made.yields else [result]
            except ProcessorError:
                raise
            except Exception as exc:
                raise ProcessorError(
                    f"{where(i)}: preprocessor {self._made.name!r} raised {type(exc).__name__}: {exc}"
                ) from exc
            for one in results:
                if one is None:
                    continue
                if not isinstance(one, dict):
                    raise ProcessorError(
                        f"{where(i)}: preprocessor {self._made.name!r} gave {type(one).__name__}; expected a dict"
                        + (" or None" if self._made.yields else ", or None to drop the row (yields=True for several)")
                    )
                outputs.append(one)
                origin.append(i)
        kept = _untouched(batch, inexact, outputs, origin)
        return self._arrow(outputs, origin, where, kept), np.array(origin, np.int64)

    def _several(self, result: Any, i: int, where: Callable[[int], str]) -> list[Any]:
        if result is None:
            return []
        if isinstance(result, dict | str | bytes) or not isinstance(result, Iterable):
            raise ProcessorError(
                f"{where(i)}: preprocessor {self._made.name!r} (yields=True) returned {type(result).__name__}; "
                "expected a generator or list of dicts"
            )
        return list(result)

    def _check_depth(self, outputs: list[dict[str, Any]], origin: list[int], where: Callable[[int], str]) -> None:
        at = first_too_deep(outputs)
        if at is not None:
            raise ProcessorError(
                f"{where(origin[at])}: what preprocessor {self._made.name!r} gave cannot be kept: {depth_message()}. "
                "Remedy: leave the deep value out"
            )

    def _arrow(
        self, outputs: list[dict[str, Any]], origin: list[int], where: Callable[[int], str], kept: dict[str, pa.Array]
    ) -> pa.RecordBatch:
        if not outputs:
            return pa.RecordBatch.from_pylist([], self._schema or pa.schema([]))
        self._check_depth(outputs, origin, where)
        if self._schema is not None:
            names = set(self._schema.names)
            for i, row in zip(origin, outputs, strict=True):
                if not names.issuperset(row):
                    raise ProcessorError(
                        f"{where(i)}: preprocessor {self._made.name!r} gave key {min(set(row) - names)!r}, which "
                        f"{'no earlier row had' if self._made.schema is None else 'schema= lacks'}. "
                        "Remedy: declare it in schema="
                    )
        try:
            made = self._fit(outputs, kept)
        except _MISFITS as exc:
            # The first row that spoils the rows up to it; one more row never mends them.
            index = bisect.bisect_left(range(len(outputs)), True, key=lambda i: not self._fits(outputs[: i + 1], kept))
            at = min(index, len(outputs) - 1)
            raise ProcessorError(
                f"{where(origin[at])}: what preprocessor {self._made.name!r} gave does not fit its schema: {exc}. Row: "
                f"{shown(outputs[at])}. Remedy: declare schema=, or return the same types for every row"
            ) from exc
        self._schema = made.schema
        return made

    def _fit(self, outputs: list[dict[str, Any]], kept: dict[str, pa.Array]) -> pa.RecordBatch:
        # Without a type first: given one, Arrow would cut 2.5 down to 2 where the schema says int64.
        rows = [row | dict.fromkeys(kept) for row in outputs] if kept else outputs
        natural = pa.RecordBatch.from_struct_array(pa.array(rows))
        for name, column in kept.items():
            natural = natural.set_column(natural.schema.names.index(name), name, column.slice(0, len(outputs)))
        schema = self._schema
        if schema is None or self._made.schema is None:
            schema = _refined(schema, plain_schema(natural.schema))
            unite_schemas(schema, plain_schema(natural.schema))  # raises where a type clashes
        return conform(natural, schema, lambda row: f"output {row}")

    def _fits(self, outputs: list[dict[str, Any]], kept: dict[str, pa.Array]) -> bool:
        try:
            self._fit(outputs, kept)
        except _MISFITS:
            return False
        return True

    def _columnar(self, batch: pa.RecordBatch, where: Callable[[int], str]) -> tuple[pa.RecordBatch, np.ndarray]:
        name = self._made.name
        try:
            result = self._made.function(batch, **self._kwargs)
        except Exception as exc:
            raise ProcessorError(
                f"{where(0)} and the {batch.num_rows - 1} rows after it: preprocessor {name!r} raised "
                f"{type(exc).__name__}: {exc}"
            ) from exc
        table = _table(result, name)
        if ROW_COLUMN in table.schema.names:
            origin = _origin(table[ROW_COLUMN], batch.num_rows, name, where)
            table = table.drop_columns([ROW_COLUMN])
            if len(origin) and (np.diff(origin) < 0).any():
                order = np.argsort(origin, kind="stable")
                table, origin = table.take(pa.array(order)), origin[order]
        elif table.num_rows != batch.num_rows:
            raise ProcessorError(
                f"{where(0)}: preprocessor {name!r} made {table.num_rows} rows of {batch.num_rows}. Remedy: return an "
                f"int64 column {ROW_COLUMN!r} that says which input row each came from"
            )
        else:
            origin = np.arange(batch.num_rows, dtype=np.int64)
        if self._made.schema is None:
            self._schema = _refined(self._schema, table.schema)
        assert self._schema is not None
        if table.schema.names != self._schema.names and set(table.schema.names) - set(self._schema.names):
            extra = sorted(set(table.schema.names) - set(self._schema.names))
            raise ProcessorError(f"{where(0)}: preprocessor {name!r} gave columns {extra} that its schema lacks. "
                                 "Remedy: declare them in schema=")  # fmt: skip
        return _conformed(table, self._schema, name, where, origin), origin


def _inexact_columns(batch: pa.RecordBatch, rows: list[dict[str, Any]]) -> list[str]:
    """The columns with a time that Python's classes do not hold, which the function sees as text."""
    found = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_temporal(column.type):
            spelled = any(isinstance(row[name], str) for row in rows)
        else:
            spelled = pa.types.is_nested(column.type) and has_inexact_times(column)
        if spelled:
            found.append(name)
    return found


def _untouched(
    batch: pa.RecordBatch, names: list[str], outputs: list[dict[str, Any]], origin: list[int]
) -> dict[str, pa.Array]:
    """Those of the columns that all outputs still have as they were: a text among times would be no column of times."""
    kept = {}
    for name in names:
        before = values(batch.column(name))
        if all(name in row and row[name] == before[i] for i, row in zip(origin, outputs, strict=True)):
            kept[name] = plain(batch.column(name)).take(pa.array(origin, pa.int64()))
    return kept


def _refined(have: pa.Schema | None, new: pa.Schema) -> pa.Schema:
    """``have`` with the types of ``new`` where nothing was known: nulls only, in any depth."""
    if have is None:
        return new
    fields = []
    for f in have:
        at = new.get_field_index(f.name)
        fields.append(f if at < 0 else pa.field(f.name, _refined_type(f.type, new.field(at).type)))
    return pa.schema(fields)


def _refined_type(have: Any, new: Any) -> Any:
    if pa.types.is_null(have):
        return new
    if pa.types.is_list(have) and pa.types.is_list(new):
        return pa.list_(_refined_type(have.value_type, new.value_type))
    if pa.types.is_struct(have) and pa.types.is_struct(new):
        return pa.struct(list(_refined(pa.schema(list(have)), pa.schema(list(new)))))
    return have


def _table(result: Any, name: str) -> pa.Table:
    if isinstance(result, pa.RecordBatch):
        return pa.Table.from_batches([result])
    if isinstance(result, pa.Table):
        return result
    if "polars" in sys.modules:
        pl = sys.modules["polars"]
        if isinstance(result, pl.LazyFrame):
            result = result.collect()
        if isinstance(result, pl.DataFrame):
            return result.to_arrow(compat_level=pl.CompatLevel.oldest())
    raise ProcessorError(
        f"columnar preprocessor {name!r} returned {type(result).__name__}; expected a "
        "pa.RecordBatch, pa.Table or polars frame"
    )


def _origin(column: pa.ChunkedArray, n: int, name: str, where: Callable[[int], str]) -> np.ndarray:
    if not pa.types.is_integer(column.type) or column.null_count:
        raise ProcessorError(
            f"{where(0)}: preprocessor {name!r}: column {ROW_COLUMN!r} is {column.type} with {column.null_count} "
            "nulls; expected int64 without nulls"
        )
    origin = column.to_numpy().astype(np.int64)
    if len(origin) and not (origin.min() >= 0 and origin.max() < n):
        raise ProcessorError(
            f"{where(0)}: preprocessor {name!r}: column {ROW_COLUMN!r} names rows {origin.min()} to {origin.max()}; "
            f"expected 0 to {n - 1}"
        )
    return origin


def _conformed(
    table: pa.Table, schema: pa.Schema, name: str, where: Callable[[int], str], origin: np.ndarray
) -> pa.RecordBatch:
    columns = []
    for f in schema:
        if f.name not in table.schema.names:
            columns.append(pa.nulls(table.num_rows, f.type))
            continue
        column = table[f.name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        try:
            columns.append(column.cast(f.type))
        except pa.ArrowException as exc:
            row = where(int(origin[0]) if len(origin) else 0)
            raise ProcessorError(
                f"{row} and after: preprocessor {name!r}: column {f.name!r} has type {column.type}; expected "
                f"{f.type} ({exc}). Remedy: declare schema="
            ) from exc
    return pa.RecordBatch.from_arrays(columns, schema=schema)
