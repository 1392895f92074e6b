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


def payload_type(result: Mapping[str, Any], rows: int, known: pa.StructType | None = None) -> pa.StructType:
    """The type of the ``predictions`` column that ``result``, a postprocessor's answer for N rows, implies.

    Args:
        known: what the column is without a postprocessor. Its maps (Set contents) keep their type, which Python values
            do not show.

    Raises:
        AlignmentError: a list that does not hold ``rows`` values.
        ProcessorError: something that is no list of one type.
    """
    return _type_of(result, rows, "", known)


def payload_columns(result: Mapping[str, Any], rows: int, kind: pa.StructType, row_name: RowName) -> pa.StructArray:
    """``result`` as N values of ``kind``; keys that are absent become nulls.

    Raises:
        AlignmentError: a list that does not hold ``rows`` values; names the address, the expected and the given length.
        ProcessorError: a key that ``kind`` lacks, or a value that does not fit; names the address, file and row.
    """
    if unknown := [key for key in result if kind.get_field_index(str(key)) < 0]:
        raise ProcessorError(
            f"the postprocessor returned {_keys(unknown)}, first seen at {row_name(0) if rows else 'an empty batch'}; "
            f"the schema that was fixed before the first batch has {_keys([one.name for one in kind])}. "
            "Remedy: return the same keys for every batch, or declare them with schema="
        )
    return _columns(result, rows, kind, "", row_name)


def _type_of(value: Mapping[str, Any], rows: int, path: str, known: pa.DataType | None) -> pa.StructType:
    fields = []
    for key, child in value.items():
        index = known.get_field_index(str(key)) if known is not None and pa.types.is_struct(known) else -1
        before = known.field(index).type if known is not None and index >= 0 else None
        where = f"{path}[{str(key)!r}]"
        if isinstance(child, Mapping):
            kind: pa.DataType = _type_of(child, rows, where, before)
        elif isinstance(child, pa.Array | pa.ChunkedArray):
            kind = child.type
        elif before is not None and _has_maps(before) and _holds_maps(child):
            kind = before
        else:
            kind = infer_type(_list(child, rows, where), f"postprocessor column {where}")
        fields.append(pa.field(str(key), kind))
    if not fields:
        raise ProcessorError(f"the postprocessor returned no columns at {path or 'the top'}; expected at least one")
    return pa.struct(fields)


def _columns(value: Mapping[str, Any], rows: int, kind: pa.StructType, path: str, row_name: RowName) -> pa.StructArray:
    children = {str(key): child for key, child in value.items()}
    if unknown := [key for key in children if kind.get_field_index(key) < 0]:
        raise ProcessorError(
            f"the postprocessor returned {_keys(unknown)} in {path}; the schema has {_keys(kind.names)}. "
            "Nothing was dropped. Remedy: return the same keys for every batch, or declare them with schema="
        )
    arrays = []
    for one in kind:
        child, where = children.get(one.name), f"{path}[{one.name!r}]"
        if isinstance(child, Mapping):
            if not pa.types.is_struct(one.type):
                raise ProcessorError(f"postprocessor column {where} is a dict of columns; expected {one.type}")
            arrays.append(_columns(child, rows, one.type, where, row_name))
        elif isinstance(child, pa.Array | pa.ChunkedArray):
            whole = _whole(child)
            check_lengths(rows, "the batch", **{f"postprocessor column {where}": len(whole)})
            arrays.append(fit_array(whole, one.type, f"postprocessor column {where}", row_name))
        else:
            # A key that a later batch lacks is null there; its type is known.
            values = _list(child, rows, where) if one.name in children else [None] * rows
            arrays.append(fit_values(values, one.type, f"postprocessor column {where}", row_name))
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def _has_maps(kind: pa.DataType) -> bool:
    return pa.types.is_map(kind) or (pa.types.is_list(kind) and _has_maps(kind.value_type))


def _holds_maps(value: Any) -> bool:
    """Whether there is nothing but dicts in (lists of) lists, as maps are shown in Python."""
    return isinstance(value, dict) or (isinstance(value, list) and all(_holds_maps(one) for one in value))


def _whole(column: Any) -> pa.Array:
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


def _keys(keys: Sequence[Any]) -> str:
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
        predictions: on the CPU. batch: the encoded rows. rows: N rows, as read and as processed.

    Raises:
        ProcessorError, AlignmentError: see `apply_postprocessor`.
    """
    context = {
        "input": batch,
        "batch": batch,
        TensorKey.metadata: Rows(rows.observations),
        "batch_indices": list(batch_indices),
        "batch_idx": batch_idx,
        "dataloader_idx": dataloader_idx,
    }
    made = as_postprocessor(postprocessor)
    given = predictions.columns() if made is not None and made.columnar else predictions.to_python()
    return apply_postprocessor(made, context, given, len(rows))
