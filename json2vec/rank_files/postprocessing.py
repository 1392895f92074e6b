"""What a postprocessor returns (dicts of row-aligned lists) as the ``predictions`` column, and the type it implies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from json2vec.batch import Batch
from json2vec.enums import TensorKey
from json2vec.errors import AlignmentError, ProcessorError
from json2vec.processors import apply_postprocessor, as_postprocessor
from json2vec.rank_files.layout import check_lengths, fit_array, fit_values, infer_type
from json2vec.reading.row_batch import RowBatch, Rows

if TYPE_CHECKING:
    from json2vec.model.predictions import Predictions

RowName = Callable[[int], str]


def payload_type(result: Mapping[str, Any], rows: int, unprocessed: pa.StructType | None = None) -> pa.StructType:
    """The type of the ``predictions`` column that ``result``, a postprocessor's answer for N rows, implies.

    Args:
        result: for each address a list of N values, or a mapping of such lists.
        rows: N.
        unprocessed: the column's type without a postprocessor. Its maps (Set contents) keep their type, which Python
            values do not show.

    Raises:
        AlignmentError: a list does not hold ``rows`` values.
        ProcessorError: something is no list of values of one type.
    """
    return _type_of(result, rows, "", unprocessed)


def payload_columns(
    result: Mapping[str, Any], rows: int, arrow_type: pa.StructType, row_name: RowName
) -> pa.StructArray:
    """``result`` as N values of ``arrow_type``; keys that are absent become nulls.

    Args:
        result: for each address a list of N values, or a mapping of such lists.
        rows: N.
        arrow_type: the type that the schema has.
        row_name: a function from the index of a row to its name in messages.

    Raises:
        AlignmentError: a list does not hold ``rows`` values; the message names the address and both lengths.
        ProcessorError: ``arrow_type`` lacks a key, or a value does not fit; the message names address, file and row.
    """
    if unknown := [key for key in result if arrow_type.get_field_index(str(key)) < 0]:
        raise ProcessorError(
            f"the postprocessor returned {_keys(unknown)}, first seen at {row_name(0) if rows else 'an empty batch'}; "
            f"the schema that was fixed before the first batch has {_keys([field.name for field in arrow_type])}. "
            "Remedy: return the same keys for every batch, or declare them with schema="
        )
    return _columns(result, rows, arrow_type, "", row_name)


def _type_of(value: Mapping[str, Any], rows: int, path: str, usual: pa.DataType | None) -> pa.StructType:
    fields = []
    for key, child in value.items():
        index = usual.get_field_index(str(key)) if usual is not None and pa.types.is_struct(usual) else -1
        before = usual.field(index).type if usual is not None and index >= 0 else None
        where = f"{path}[{str(key)!r}]"
        if isinstance(child, Mapping):
            child_type: pa.DataType = _type_of(child, rows, where, before)
        elif isinstance(child, pa.Array | pa.ChunkedArray):
            child_type = child.type
        elif before is not None and _has_maps(before) and _holds_maps(child):
            child_type = before
        else:
            child_type = infer_type(_list(child, rows, where), f"postprocessor column {where}")
        fields.append(pa.field(str(key), child_type))
    if not fields:
        raise ProcessorError(f"the postprocessor returned no columns at {path or 'the top'}; expected at least one")
    return pa.struct(fields)


def _columns(
    value: Mapping[str, Any], rows: int, arrow_type: pa.StructType, path: str, row_name: RowName
) -> pa.StructArray:
    children = {str(key): child for key, child in value.items()}
    if unknown := [key for key in children if arrow_type.get_field_index(key) < 0]:
        raise ProcessorError(
            f"the postprocessor returned {_keys(unknown)} in {path}; the schema has {_keys(arrow_type.names)}. "
            "Nothing was dropped. Remedy: return the same keys for every batch, or declare them with schema="
        )
    arrays = []
    for field in arrow_type:
        child, where = children.get(field.name), f"{path}[{field.name!r}]"
        if isinstance(child, Mapping):
            if not pa.types.is_struct(field.type):
                raise ProcessorError(f"postprocessor column {where} is a dict of columns; expected {field.type}")
            arrays.append(_columns(child, rows, field.type, where, row_name))
        elif isinstance(child, pa.Array | pa.ChunkedArray):
            whole = _whole(child)
            check_lengths(rows, "the batch", **{f"postprocessor column {where}": len(whole)})
            arrays.append(fit_array(whole, field.type, f"postprocessor column {where}", row_name))
        else:
            # A key that a later batch lacks is null there; its type is known.
            values = _list(child, rows, where) if field.name in children else [None] * rows
            arrays.append(fit_values(values, field.type, f"postprocessor column {where}", row_name))
    return pa.StructArray.from_arrays(arrays, fields=list(arrow_type))


def _has_maps(arrow_type: pa.DataType) -> bool:
    return pa.types.is_map(arrow_type) or (pa.types.is_list(arrow_type) and _has_maps(arrow_type.value_type))


def _holds_maps(value: Any) -> bool:
    """Whether there is nothing but dicts in (lists of) lists, as maps are shown in Python."""
    return isinstance(value, dict) or (isinstance(value, list) and all(_holds_maps(item) for item in value))


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _list(value: Any, rows: int, where: str) -> Sequence[Any]:
    if hasattr(value, "tolist"):  # numpy and torch
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise ProcessorError(
            f"postprocessor column {where} is {value!r} of type {type(value).__name__}; expected a list of {rows} "
            "values, one for each row"
        )
    if len(value) != rows:
        raise AlignmentError(
            f"postprocessor column {where} has {len(value)} values; expected {rows}, one for each row of the batch. "
            "Remedy: return row-aligned lists"
        )
    return value


def _keys(keys: Sequence[object]) -> str:
    return ", ".join(repr(str(key)) for key in keys)


def postprocessed(
    postprocessor: Callable[..., Any],
    predictions: Predictions,
    batch: Batch,
    rows: RowBatch,
    *,
    batch_idx: int = 0,
    batch_indices: Sequence[int] = (),
    dataloader_idx: int = 0,
) -> Mapping[str, Any]:
    """What ``postprocessor`` makes of N predictions: for each address row-aligned columns.

    Args:
        postprocessor: a callable of (context, predictions).
        predictions: what the model made of the N rows, on the CPU.
        batch: the encoded rows.
        rows: the N rows, as read and as processed.
        batch_idx: the number of the batch, for the context.
        batch_indices: Lightning's indices of the rows, for the context.
        dataloader_idx: the number of the dataloader, for the context.

    Raises:
        ProcessorError: the postprocessor failed, or returned something else; see `apply_postprocessor`.
        AlignmentError: what it returned does not have one value for each row.
    """
    context = {
        "input": batch,
        "batch": batch,
        TensorKey.metadata: Rows(rows.observations),
        "batch_indices": list(batch_indices),
        "batch_idx": batch_idx,
        "dataloader_idx": dataloader_idx,
    }
    processor = as_postprocessor(postprocessor)
    argument = predictions.columns() if processor is not None and processor.columnar else predictions.to_python()
    return apply_postprocessor(processor, context, argument, len(rows))
