"""Rows to tensors: `encode_batch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from json2vec.address import Address
from json2vec.batch import Batch, FieldBatch
from json2vec.columns import LeafColumn, resolve_arrow, resolve_rows
from json2vec.enums import Strata
from json2vec.errors import EncodeError
from json2vec.fields.registry import field_type
from json2vec.fields.vocabulary import NO_VOCABULARY, Vocabulary
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
    return resolve_rows(records, address, query, lengths, overflows, predict=predict)


def _encode_leaf(column: LeafColumn, leaf: Leaf, vocabulary: Vocabulary) -> FieldBatch:
    try:
        content = field_type(leaf).encode(column, leaf, vocabulary)
    except EncodeError as exc:
        if exc.item is not None and exc.row is None and len(column.slots) > exc.item:
            exc.row = int(column.rows()[exc.item])
        raise
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
        return EncodeError(message)
    where = f"row {error.row} of the batch"
    if isinstance(rows, RowBatch):
        source = rows.source[error.row].as_py()
        where = f"{source['file']}, row {source['row']}"
    return EncodeError(f"{message} (at {where})", row=error.row)


def empty_field(leaf: Leaf, shape: tuple[int, ...], state: int) -> FieldBatch:
    """A field whose slots all have ``state``."""
    states = np.full(shape, state, np.int64)
    content = field_type(leaf).empty(leaf, states)
    return FieldBatch(torch.from_numpy(states), {key: torch.from_numpy(value) for key, value in content.items()})
