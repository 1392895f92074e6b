"""Values that no reader gives back although their type lasts: `faults` finds the rows that hold one.

The text ``caf\\xe9`` (Latin-1 in a column of texts) goes through Arrow and into Parquet unseen; then polars and DuckDB
refuse the whole file. So do a map with one key twice, a time of day of 25 hours and a moment in the year 300,000. Clean
columns cost one pass in Arrow; numbers cost none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from json2vec.errors import ReadError
from json2vec.reading.formats.piece import BadRow, Piece
from json2vec.reading.plain import plain, spans
from json2vec.reading.row_hash import row_hash

__all__ = ["Fault", "faults", "lasting_piece", "problem"]

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
_MICROS = 9_223_372_022_400_000_000  # DuckDB's first moment is so long before 1970
_INT64 = 2**63 - 1
_RAW_CHARACTERS = 100_000  # of a bad row's text that are kept


@dataclass(frozen=True)
class Fault:
    """A value that does not last.

    Attributes:
        row: its row in the batch.
        column: the name of its column.
        reason: what is wrong with it, as the end of a sentence that begins with the column.
    """

    row: int
    column: str
    reason: str


def lasting_piece(piece: Piece, names: list[str], where: str, quarantine: bool) -> Piece:
    """``piece`` without the rows that hold a value that does not last; they are among its bad rows.

    Args:
        piece: as read from the file ``where``.
        names: the columns to look at; others are not kept.
        where: the file, for messages.
        quarantine: False raises for the first of such rows.

    Raises:
        ReadError: a value that does not last; names file, row and column.
    """
    held = [name for name in names if name in set(piece.batch.schema.names)]
    found = faults(piece.batch.select(held), None if quarantine else 1)
    if not found:
        return piece
    rows = piece.rows[[fault.row for fault in found]].tolist()
    if not quarantine:
        raise ReadError(
            f"{where}: row {rows[0]}: column {found[0].column!r} holds {found[0].reason}. Row: "
            f"{_row_text(piece.batch, found[0].row, 80)}. Remedy: write the value anew, or read with "
            "on_bad_row='quarantine' to set the row aside"
        )
    bad = [
        BadRow(row, f"column {fault.column!r} holds {fault.reason}", _row_text(piece.batch, fault.row, _RAW_CHARACTERS))
        for row, fault in zip(rows, found, strict=True)
    ]
    kept = np.ones(len(piece.rows), bool)
    kept[[fault.row for fault in found]] = False
    every = sorted([*piece.bad, *bad], key=lambda one: one.row)
    return Piece(piece.batch.filter(pa.array(kept)), piece.rows[kept], tuple(every))


def faults(batch: pa.RecordBatch, most: int | None = None) -> list[Fault]:
    """The rows of ``batch`` with a value that does not last, ascending, each once; at most the first ``most``."""
    found: dict[int, Fault] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if _looked_at(column.type) and problem(column) is not None:
            rows = _rows(plain(column))
            for row, reason in rows if most is None else _first(rows, most):
                found.setdefault(row, Fault(row, name, reason))
    return sorted(found.values(), key=lambda fault: fault.row)[:most]


def problem(array: Any) -> str | None:
    """What is wrong with a value of ``array``; None where all last."""
    if not _looked_at(array.type):
        return None
    try:
        array.validate(full=True)
    except (pa.ArrowInvalid, UnicodeDecodeError) as exc:
        text = str(exc)
        return "a text that is no UTF-8" if "UTF8" in text else f"a value that Arrow does not take for one ({text})"
    return _deeper(array)


def _row_text(batch: pa.RecordBatch, row: int, most: int) -> str:
    """A row as JSON of at most ``most`` characters, with replacement characters for what is no UTF-8."""
    values = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = plain(column.slice(row, 1)).to_pylist()[0]
        except (ValueError, OverflowError, KeyError, pa.ArrowException):  # KeyError: a zone that Python does not know
            values[name] = _bytes(plain(column.slice(row, 1)))[0]
    return json.dumps(values, ensure_ascii=False, default=_shown)[:most]


def _shown(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _bytes(array: Any) -> list[Any]:
    """The values of a plain array whose texts are no UTF-8, as bytes; what Python has no value for as its number."""
    kind = array.type
    valid = array.is_valid().to_pylist()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array.cast(pa.large_binary()).to_pylist()
    if pa.types.is_struct(kind):
        children = [_bytes(array.field(i)) for i in range(kind.num_fields)]
        names = [field.name for field in kind]
        return [dict(zip(names, row, strict=True)) if ok else None for ok, *row in zip(valid, *children, strict=True)]
    if pa.types.is_map(kind):
        offsets, begin, end = spans(array)
        pairs = list(zip(*(_bytes(a.slice(begin, end - begin)) for a in (array.keys, array.items)), strict=True))
        return [pairs[a:b] if ok else None for ok, a, b in zip(valid, offsets[:-1], offsets[1:], strict=True)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets, begin, end = spans(array)
        items = _bytes(array.values.slice(begin, end - begin))
        return [items[a:b] if ok else None for ok, a, b in zip(valid, offsets[:-1], offsets[1:], strict=True)]
    if pa.types.is_fixed_size_list(kind):
        return _bytes(array.cast(pa.large_list(kind.value_type)))
    try:
        return array.to_pylist()
    except (ValueError, OverflowError, KeyError):
        return [getattr(value, "value", None) for value in array]


def _first(rows: Iterator[tuple[int, str]], most: int) -> Iterator[tuple[int, str]]:
    for _, row in zip(range(most), rows, strict=False):
        yield row


def _rows(column: Any, first: int = 0) -> Iterator[tuple[int, str]]:
    """The rows of a plain column that have a problem, in order. Halves are copies, as Arrow looks at all lists own."""
    reason = problem(column)
    if reason is None:
        return
    if len(column) == 1:
        yield first, reason
        return
    middle = len(column) // 2
    numbers = np.arange(len(column))
    for some in (numbers[:middle], numbers[middle:]):
        yield from _rows(column.take(pa.array(some)), first + int(some[0]))


@lru_cache(maxsize=4096)
def _looked_at(kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _looked_at(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _looked_at(kind.storage_type)
    if types.is_map(kind):
        return True
    if types.is_nested(kind):
        return any(_looked_at(kind.field(i).type) for i in range(kind.num_fields))
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return text or types.is_decimal(kind) or (types.is_temporal(kind) and not types.is_interval(kind))


@lru_cache(maxsize=4096)
def _has_limits(kind: Any) -> bool:
    """Whether there is more to look at than `pa.Array.validate` does: keys of maps, and times."""
    if pa.types.is_map(kind) or _limits(kind) is not None:
        return True
    return pa.types.is_nested(kind) and any(_has_limits(kind.field(i).type) for i in range(kind.num_fields))


def _limits(kind: Any) -> tuple[int, int] | None:
    """The first and the last number that all readers take for a moment, in the unit of the type."""
    if pa.types.is_date32(kind):
        return -(2**31) + 2, 2**31 - 2  # the others are DuckDB's infinities
    if pa.types.is_date64(kind):
        return (-(2**31) + 2) * 86_400_000, (2**31 - 2) * 86_400_000
    if pa.types.is_duration(kind) and kind.unit == "s":
        return -(_INT64 // 1000), _INT64 // 1000  # polars multiplies
    if not pa.types.is_timestamp(kind):
        return None
    if kind.unit == "ns":
        return -_INT64 + 1, _INT64 - 1
    factor = {"s": 1_000_000, "ms": 1000, "us": 1}[kind.unit]
    return -(_MICROS // factor), (_INT64 - 1) // factor


def _deeper(array: Any) -> str | None:
    kind = array.type
    if not _has_limits(kind):
        return None
    if (limits := _limits(kind)) is not None:
        numbers = array.view(pa.int32() if pa.types.is_date32(kind) else pa.int64())
        ends = pc.min_max(numbers)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if low is not None and (low < limits[0] or high > limits[1]):
            return f"the time {low if low < limits[0] else high} ({kind}), which readers do not know"
        return None
    if pa.types.is_struct(kind):
        return next((said for child in array.flatten() if (said := _deeper(child)) is not None), None)
    if pa.types.is_map(kind):
        return _map(array)
    if not pa.types.is_nested(kind) or pa.types.is_union(kind):
        return None
    return _deeper(array.flatten()) if len(array) else None


def _map(array: Any) -> str | None:
    offsets, begin, end = spans(array)
    keys, items = (plain(some.slice(begin, end - begin)) for some in (array.keys, array.items))
    if end > begin:
        if keys.null_count:
            return "a map with a key that is null"
        codes = row_hash(pa.RecordBatch.from_arrays([keys], ["key"]))
        owners = np.repeat(np.arange(len(array)), offsets[1:] - offsets[:-1])
        pairs = np.stack([owners.astype(np.uint64), codes])[:, np.lexsort((codes, owners))]
        if (pairs[:, 1:] == pairs[:, :-1]).all(axis=0).any():
            return "a map with one key twice"
    return _deeper(keys) or _deeper(items)
