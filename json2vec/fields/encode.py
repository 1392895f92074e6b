"""Rows to tensors: `encode_batch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from json2vec.address import Address
from json2vec.batch import Batch, FieldBatch
from json2vec.columns import LeafColumn, resolve_arrow, resolve_rows
from json2vec.enums import Strata
from json2vec.errors import EncodeError, Json2VecError
from json2vec.fields.registry import field_type
from json2vec.fields.vocabulary import NO_VOCABULARY, Vocabulary
from json2vec.reading.conform import first_failing
from json2vec.reading.exact import shown
from json2vec.reading.limits import depth_message, first_too_deep, too_deep
from json2vec.reading.plain import plain_batch
from json2vec.reading.records import records as json_records
from json2vec.reading.row_batch import RowBatch
from json2vec.schema.nodes import Leaf
from json2vec.schema.schema import Schema


def encode_batch(
    rows: RowBatch | pa.RecordBatch | Sequence[Mapping[str, Any]],
    schema: Schema,
    vocabularies: Mapping[Address, Vocabulary],
    *,
    strata: Strata = Strata.predict,
) -> Batch:
    """Encode N rows.

    Args:
        rows: Arrow rows (the columnar path) or Python records.
        schema: the schema of the model.
        vocabularies: the labels that the model knows, by address of the leaf, for the fields that learn labels.
        strata: the use of the rows. In ``predict`` targets are not read and ``"<MASK>"`` hides a slot.

    Raises:
        EncodeError: a value that its field cannot encode, naming address, file and row.
    """
    observations: Any = rows.observations if isinstance(rows, RowBatch) else rows
    if isinstance(observations, pa.RecordBatch):
        observations = plain_batch(observations)
    check_depth(rows)
    predict = strata is Strata.predict
    leaves = schema.inputs if predict else schema.active
    fields = {}
    for address, leaf in leaves.items():
        try:
            column = resolve(observations, schema, address, predict=predict)
            fields[address] = _encode_leaf(column, leaf, vocabularies.get(address, NO_VOCABULARY))
        except EncodeError as exc:
            raise located(exc, address, rows) from exc
    size = observations.num_rows if isinstance(observations, pa.RecordBatch) else len(observations)
    return Batch(fields, size, rows if isinstance(rows, RowBatch) else None)


def resolve(
    observations: pa.RecordBatch | Sequence[Any], schema: Schema, address: Address, *, predict: bool
) -> LeafColumn:
    """The slots of one leaf, by the columnar path where its query and the rows allow it."""
    records: Any = observations
    query, above = schema.query(address), [schema.arrays[array] for array in schema.above(address)[1:]]
    lengths, overflows = [array.max_length for array in above], [array.overflow for array in above]
    if isinstance(observations, pa.RecordBatch):
        if query.steps is not None:
            if query.steps[0] in records.schema.names:
                records = plain_batch(records.select([query.steps[0]]))
            return resolve_arrow(records, address, query, lengths, overflows, predict=predict)
        records = json_records(records)
    try:
        return resolve_rows(records, address, query, lengths, overflows, predict=predict)
    except EncodeError:
        raise
    except Exception as exc:  # a query's function, or a record of a class of the user's, may raise anything
        row = first_failing(
            len(records), lambda a, b: _resolves(records[a:b], address, query, lengths, overflows, predict)
        )
        raise EncodeError(f"{address}: its query fails ({type(exc).__name__}: {exc!s:.200})", row=row) from exc


def _resolves(records: Any, *arguments: Any) -> bool:
    try:
        resolve_rows(records, *arguments[:-1], predict=arguments[-1])
    except Exception:
        return False
    return True


def check_depth(rows: RowBatch | pa.RecordBatch | Sequence[Any]) -> None:
    """Raise `EncodeError`, with row and key, if a Python record nests deeper than readers can give back."""
    if not isinstance(rows, Sequence):
        return  # Arrow rows are as deep as their schema, which was bounded where they were read
    row = first_too_deep(rows)
    if row is not None:
        record = rows[row]
        keys = record if isinstance(record, Mapping) else ()
        key = next((str(key) for key in keys if too_deep([record[key]])), "record")
        raise located(EncodeError(f"{depth_message()}. Remedy: leave the deep value out", row=row), Address(key), rows)


def blamed(column: LeafColumn, use: Callable[[LeafColumn], Any]) -> Any:
    """``use(column)``; where a value makes it fail, an `EncodeError` that names the value and its row.

    Args:
        column: V values.
        use: what is done with them, which may raise anything.
    """
    try:
        return use(column)
    except Exception as exc:
        if isinstance(exc, Json2VecError) and not isinstance(exc, EncodeError):
            raise
        item = getattr(exc, "item", None)
        if item is None:
            item = first_failing(len(column.slots), lambda a, b: _works(_part(column, a, b), use))
        blamable = item < len(column.slots) and not _works(_part(column, item, item + 1), use)
        if isinstance(exc, EncodeError):
            error = exc
        else:  # of Arrow, numpy or Python: what they say is no sentence about the value
            found = shown(column.values[item]) if blamable else f"{len(column.slots)} values"
            error = EncodeError(f"cannot take {found} ({type(exc).__name__}: {exc!s:.200})")
        if error.row is None and blamable:
            error.item, error.row = item, int(column.rows()[item])
        if error is exc:
            raise
        raise error from exc


def _part(column: LeafColumn, start: int, stop: int) -> LeafColumn:
    """The values start..stop-1 alone."""
    return replace(column, values=column.values[start:stop], slots=column.slots[start:stop])


def _works(column: LeafColumn, use: Callable[[LeafColumn], Any]) -> bool:
    try:
        use(column)
    except Exception:
        return False
    return True


def _encode_leaf(column: LeafColumn, leaf: Leaf, vocabulary: Vocabulary) -> FieldBatch:
    content = blamed(column, lambda part: field_type(leaf).encode(part, leaf, vocabulary))
    state = column.state.reshape(column.shape)
    return FieldBatch(
        state=torch.from_numpy(state),
        content={
            key: torch.from_numpy(values.reshape(*column.shape, *values.shape[1:])) for key, values in content.items()
        },
    )


def located(error: EncodeError, address: Address, rows: Any) -> EncodeError:
    """``error`` with the address and, where it names a row of ``rows``, that row's file and number in its message."""
    message = str(error) if str(error).startswith(address) else f"{address}: {error}"
    if error.row is None:
        return EncodeError(message, address=address)
    where = f"row {error.row} of the batch"
    if isinstance(rows, RowBatch):
        source = rows.source[error.row].as_py()
        where = f"{source['file']}, row {source['row']}"
    return EncodeError(f"{message} (at {where})", row=error.row, address=address)


def empty_field(leaf: Leaf, shape: tuple[int, ...], state: int) -> FieldBatch:
    """A field whose slots all have ``state``."""
    states = np.full(shape, state, np.int64)
    content = field_type(leaf).empty(leaf, states)
    return FieldBatch(torch.from_numpy(states), {key: torch.from_numpy(value) for key, value in content.items()})
