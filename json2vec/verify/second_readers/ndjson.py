"""NDJSON by Python's own json: lines that are not blank, numbers as decimals, so that none is rounded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from json2vec.verify.second_readers.lines import line_blocks, picked
from json2vec.verify.second_readers.nearby import NearbyFile
from json2vec.verify.second_readers.reader import Options, Rows, SecondReader

_BLANK = b" \t\r\v\f"


def count_ndjson(file: NearbyFile, options: Options) -> int:
    """Lines that are not blank."""
    return sum(len(lines) for lines in line_blocks(file, _BLANK))


def rows_ndjson(file: NearbyFile, rows: Sequence[int], options: Options) -> Rows:
    values: dict[int, dict[str, Any]] = {}
    unread: dict[str, str] = {}
    lines, count = picked(line_blocks(file, _BLANK), rows)
    for row, line in lines.items():
        try:
            value = json.loads(line, parse_float=_decimal, object_pairs_hook=_object)
            values[row] = value if isinstance(value, dict) else {}
        except (ValueError, RecursionError) as exc:
            unread[f"row {row}"] = f"Python's json: {exc}"
    return Rows(values, unread, count)


def _decimal(number: str) -> Decimal | float:
    value = Decimal(number)
    return float(number) if value.is_zero() and value.is_signed() else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in an object")
    return found


READER = SecondReader("Python's json", count_ndjson, rows_ndjson, places=2)
