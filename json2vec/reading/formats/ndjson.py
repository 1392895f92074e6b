"""NDJSON: a row is a line that is not blank, and nothing but the values says which type a column has.

Texts that look like times stay text. An integer that a double does not hold, as ``9007199254740993`` where other rows
have fractions, is an error of its row. Where ``input_schema=`` says text, numbers and booleans come as their text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from json2vec.errors import ReadError
from json2vec.reading.conform import Unifier, text_type
from json2vec.reading.formats.blocks import BLOCK_BYTES, BOM, RAW_CHARACTERS, TextRows, longest_row, text_blocks
from json2vec.reading.formats.compression import compressible
from json2vec.reading.formats.format import Counted, Format
from json2vec.reading.formats.json_depth import deep_lines
from json2vec.reading.formats.json_integers import check_integers, float_columns, large_floats
from json2vec.reading.formats.json_scalars import is_scalar_in_text, scalars_as_texts
from json2vec.reading.formats.out_of_step import why_out_of_step
from json2vec.reading.formats.piece import BadRow, Piece, no_columns
from json2vec.reading.limits import MAX_DEPTH, depth_message

_UTF8 = "write the file again as UTF-8, as iconv -t UTF-8 does"


def _blocks(file: IO[bytes], where: str) -> Iterator[bytes]:
    """The text in blocks of about `BLOCK_BYTES` that end with a line; no line begins with a byte order mark."""
    parts: list[bytes] = []
    held = at = 0  # bytes of ``parts``, and of the text before them
    for data in text_blocks(file, where, BLOCK_BYTES, remedy=_UTF8):
        cut = data.rfind(b"\n") + 1
        if cut == 0:
            parts.append(data)
            held += len(data)
            longest_row(where, f"the line that begins at byte {at} of the text", held, "end each line with a line feed")
            continue
        block = b"".join([*parts, data[:cut]])
        at += len(block)
        if BOM in block:  # of files that were joined
            block = block.removeprefix(BOM).replace(b"\n" + BOM, b"\n")
        yield block
        parts = [data[cut:]] if cut < len(data) else []
        held = len(data) - cut
    if parts:
        yield b"".join(parts).removeprefix(BOM)


@dataclass(frozen=True)
class _Lines(TextRows):
    """The lines of a block that are not blank.

    Attributes:
        odd: bool (lines,), whether it does not begin with ``{`` and end with ``}``. Such a line is no object, and is
            never parsed with others, of which it might make one that goes over many lines.
        deep: bool (lines,), whether it nests too deep.
    """

    odd: np.ndarray
    deep: np.ndarray

    @staticmethod
    def of(block: bytes) -> _Lines:
        """The lines of ``block``."""
        codes = np.frombuffer(block, np.uint8)
        stops = np.flatnonzero(codes == ord("\n"))
        if len(codes) and (not len(stops) or stops[-1] != len(block) - 1):
            stops = np.append(stops, len(block))
        starts = np.concatenate([[0], stops[:-1] + 1]) if len(stops) else stops
        starts, stops = starts[stops > starts], stops[stops > starts]
        first, last = codes[starts], codes[stops - 1]
        last = np.where(last == ord("\r"), codes[np.maximum(stops - 2, starts)], last)
        keep = np.ones(len(starts), bool)
        odd = (first != ord("{")) | (last != ord("}"))
        for i in np.flatnonzero(odd).tolist():
            stripped = block[starts[i] : stops[i]].strip()
            keep[i], odd[i] = bool(stripped), stripped[:1] != b"{" or stripped[-1:] != b"}"
        starts, stops = starts[keep], stops[keep]
        deep = deep_lines(block, starts, stops, MAX_DEPTH + 1)  # the row itself is an object
        return _Lines(block, starts, stops, odd[keep], deep)


def _parse(data: bytes, schema: pa.Schema | None) -> pa.RecordBatch:
    # One Arrow block for all, so that no line straddles two; a line break inside a value is no line break to us.
    table = pajson.read_json(
        pa.BufferReader(data),
        read_options=pajson.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pajson.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore"
        ),
    )
    if not table.num_columns:
        return no_columns(table.num_rows)
    return table.combine_chunks().to_batches()[0]


def _parse_lines(lines: _Lines, a: int, b: int, schema: pa.Schema | None) -> pa.RecordBatch:
    """Rows a..b-1. Raises ValueError (pa.ArrowInvalid is one) where they are not one JSON object each."""
    # No line break can be inside a value. So, where each line begins with { and ends with }, every line holds at least
    # one object, and as many objects as lines are one a line.
    if lines.deep[a:b].any():
        raise ValueError(depth_message())
    if lines.odd[a:b].any():
        raise ValueError(why_out_of_step(lines.one(a + int(np.argmax(lines.odd[a:b])))))
    try:
        batch = _parse(lines.text(a, b), schema)
    except pa.ArrowInvalid as exc:
        if schema is None or not is_scalar_in_text(str(exc)):
            raise
        batch = _parse(scalars_as_texts([lines.one(i) for i in range(a, b)], schema), schema)
    if batch.num_rows != b - a:
        one = b - a == 1
        raise ValueError(
            why_out_of_step(lines.one(a), batch.num_rows) if one else f"{b - a} lines hold {batch.num_rows} objects"
        )
    if schema is not None:  # while types are inferred a later file may still make a float of an integer
        columns = float_columns(batch.schema)
        for row in large_floats(batch).tolist():
            check_integers(lines.one(a + row), columns)
    return batch


def _bad_lines(lines: _Lines, a: int, b: int, schema: pa.Schema | None, *, alone: bool = False) -> dict[int, str]:
    """The lines of a..b-1 that do not parse by themselves, with the reason. ``alone``: test each line by itself."""
    if not alone or b - a == 1:
        try:
            _parse_lines(lines, a, b, schema)
            return {}
        except (ValueError, pa.ArrowException) as exc:
            if b - a == 1:
                return {a: re.sub(r"\.? in row 0$", "", str(exc))}
    middle = (a + b) // 2
    return _bad_lines(lines, a, middle, schema, alone=alone) | _bad_lines(lines, middle, b, schema, alone=alone)


def count_ndjson(file: IO[bytes], where: str, infer: bool) -> Counted:
    """Rows, and with ``infer`` the schema that unites all blocks. Malformed lines count as rows and say no type."""
    rows, unifier = 0, Unifier()
    for block in _blocks(file, where):
        lines = _Lines.of(block)
        if infer and len(lines):
            unifier.add(_infer_lines(lines, where, rows), f"{where}, rows {rows} to {rows + len(lines) - 1}")
        rows += len(lines)
    return rows, unifier.schema if infer else None


def _infer_lines(lines: _Lines, where: str, first: int) -> pa.Schema:
    n = len(lines)
    try:
        batch = _parse_lines(lines, 0, n, None)
    except (ValueError, pa.ArrowException) as exc:
        bad = _bad_lines(lines, 0, n, None, alone=True)
        good = [i for i in range(n) if i not in bad]
        if not good and first == 0:
            raise ReadError(
                f"{where}: cannot be read as NDJSON: none of its first {n} lines is a JSON object (line 1: {bad[0]}). "
                "Remedy: write one JSON object a line, without an enclosing array"
            ) from exc
        if not good:
            return pa.schema([])
        try:
            batch = _parse(b"\n".join(lines.one(i) for i in good), None)
        except pa.ArrowException as clash:
            found = re.search(r"Column\((.*)\) changed (from .* to .*) in row (\d+)", str(clash))
            at = None
            if found:
                at = f"row {first + good[int(found[3])]}: column {found[1].lstrip('/')!r} changed {found[2]}"
            raise ReadError(
                f"{where}: {at or clash}. Remedy: write the column with one type, or say input_schema= (and "
                "on_bad_row='quarantine' to set the rows aside that do not fit it)"
            ) from clash
    return pa.schema([pa.field(f.name, text_type(f.type)) for f in batch.schema])


def read_ndjson(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    """The rows start..stop-1, parsed straight to ``schema``; lines that do not fit come as bad rows."""
    at = 0
    for block in _blocks(file, where):
        lines = _Lines.of(block)
        a, b = max(0, start - at), min(len(lines), stop - at)
        if a < b:
            yield _read_lines(lines, a, b, schema, at)
        at += len(lines)
        if at >= stop:
            return


def _read_lines(lines: _Lines, a: int, b: int, schema: pa.Schema, at: int) -> Piece:
    try:
        return Piece.of(_parse_lines(lines, a, b, schema), at + a)
    except (ValueError, pa.ArrowException):
        bad = _bad_lines(lines, a, b, schema)
    good = [i for i in range(a, b) if i not in bad]
    kept = _Lines.of(b"\n".join(lines.one(i) for i in good))
    batch = _parse_lines(kept, 0, len(good), schema) if good else pa.RecordBatch.from_pylist([], schema)
    raw = [
        BadRow(at + i, reason, lines.one(i).decode("utf-8", "replace")[:RAW_CHARACTERS]) for i, reason in bad.items()
    ]
    return Piece(batch, np.array(good, np.int64) + at, tuple(raw))


FORMAT = Format("NDJSON", count_ndjson, read_ndjson, compressible(".ndjson", ".jsonl", ".json"), "inferred",
                a_row="a JSON object that fits the schema")  # fmt: skip
