"""Avro: rows counted from the heads of the blocks; the blocks of the sampled rows decoded by polars.

A file is a header (``Obj1``, a map of metadata, 16 bytes of mark), then blocks: how many rows, how many bytes, the
bytes, the mark. The header and one block are a file of their own.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import IO, Any

from json2vec.verify.second_readers.feather import framed_rows
from json2vec.verify.second_readers.nearby import NearbyFile, NotCompared
from json2vec.verify.second_readers.reader import Options, Rows, SecondReader

_MARK = 16


def _long(handle: IO[bytes]) -> int | None:
    """A number of variable length, zigzag; None at the end of the file."""
    value = shift = 0
    while True:
        byte = handle.read(1)
        if not byte:
            if shift:
                raise NotCompared("the file ends within a number")
            return None
        value |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            return (value >> 1) ^ -(value & 1)


def _skip_header(handle: IO[bytes]) -> None:
    if handle.read(4) != b"Obj\x01":
        raise NotCompared("the file does not begin as Avro does")
    while entries := _long(handle):
        if entries < 0:  # then their size follows
            entries = -entries
            _long(handle)
        for _ in range(2 * entries):
            handle.seek(_long(handle) or 0, 1)
    handle.seek(_MARK, 1)


def _blocks(handle: IO[bytes]) -> Iterator[tuple[int, int, int]]:
    """Of each block how many rows it has, and where it begins and ends; the first ``begin`` is the header's end."""
    handle.seek(0)
    _skip_header(handle)
    while True:
        begin = handle.tell()
        rows = _long(handle)
        if rows is None:
            return
        size = _long(handle)
        end = handle.seek((size or 0) + _MARK, 1)
        yield rows, begin, end


def count_avro(file: NearbyFile, options: Options) -> int:
    with file.open() as handle:
        return sum(rows for rows, _, _ in _blocks(handle))


def rows_avro(file: NearbyFile, rows: Sequence[int], options: Options) -> Rows:
    values: dict[int, dict[str, Any]] = {}
    with file.open() as handle:
        at, header = 0, b""
        for count, begin, end in _blocks(handle):
            if not header:
                handle.seek(0)
                header = handle.read(begin)
            wanted = [row - at for row in rows if at <= row < at + count]
            if wanted:
                handle.seek(begin)
                values |= _decoded(header + handle.read(end - begin), wanted, at)
            handle.seek(end)
            at += count
    return Rows(values)


def _decoded(data: bytes, wanted: list[int], first: int) -> dict[int, dict[str, Any]]:
    import polars as pl

    try:
        frame = pl.read_avro(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as exc:
        raise NotCompared(f"polars: {str(exc).splitlines()[0]}") from exc
    rows = framed_rows(frame[wanted], 0)
    return {first + row: rows[i] for i, row in enumerate(wanted) if i in rows}


READER = SecondReader("polars", count_avro, rows_avro, places=4)
