"""NDJSON by Python's own json: lines that are not blank, numbers as decimals, so that none is rounded."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from json2vec.verify.second_readers.nearby import NearbyFile
from json2vec.verify.second_readers.reader import Rows, SecondReader

_BLOCK_BYTES = 1 << 20


class _Twice(ValueError):
    """A key occurs twice in an object."""


def _blocks(file: NearbyFile) -> Iterator[tuple[bytes, np.ndarray, np.ndarray]]:
    """Blocks that end with a line, and int64 (n,) where in them the lines that are not blank begin and end."""
    with file.open() as handle:
        rest, first = b"", True
        while (data := handle.read(_BLOCK_BYTES)) or rest:
            if first:
                data, first = data.removeprefix(b"\xef\xbb\xbf"), False
            cut = data.rfind(b"\n") + 1 if data else 0
            if data and not cut:
                rest += data
                continue
            block, rest = rest + data[:cut], data[cut:]
            codes = np.frombuffer(block, np.uint8)
            stops = np.flatnonzero(codes == ord("\n"))
            if not len(stops) or stops[-1] < len(block) - 1:
                stops = np.append(stops, len(block))
            starts = np.concatenate([[0], stops[:-1] + 1])
            keep = starts < stops
            for i in np.flatnonzero(codes[np.minimum(starts, len(block) - 1)] <= ord(" ")).tolist():
                keep[i] = bool(block[starts[i] : stops[i]].strip())
            yield block, starts[keep], stops[keep]


def count_ndjson(file: NearbyFile) -> int:
    return sum(len(starts) for _, starts, _ in _blocks(file))


def rows_ndjson(file: NearbyFile, rows: Sequence[int]) -> Rows:
    values: dict[int, dict[str, Any]] = {}
    unread: dict[str, str] = {}
    at = 0
    for block, starts, stops in _blocks(file):
        for row in rows[bisect_left(rows, at) : bisect_left(rows, at + len(starts))]:
            try:
                value = json.loads(block[starts[row - at] : stops[row - at]], parse_float=_decimal,
                                   object_pairs_hook=_object)  # fmt: skip
                values[row] = value if isinstance(value, dict) else {}
            except (ValueError, RecursionError) as exc:
                unread[f"row {row}"] = f"Python's json: {exc}"
        at += len(starts)
        if at > rows[-1]:
            break
    return Rows(values, unread)


def _decimal(number: str) -> Decimal | float:
    value = Decimal(number)
    return float(number) if value.is_zero() and value.is_signed() else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice("a key occurs twice in an object")
    return found


READER = SecondReader("Python's json", count_ndjson, rows_ndjson, places=2)
