"""What NDJSON and CSV share: files of text, read in blocks of about 4 MB of UTF-8, whatever they are stored as."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from json2vec.errors import ReadError
from json2vec.reading.formats.compression import plain_blocks

BLOCK_BYTES = 4 << 20
MAX_ROW_BYTES = 1 << 30  # a row is held whole, and Arrow counts the bytes of a block with 31 bits
RAW_CHARACTERS = 100_000  # of a bad row's text that are kept
BOM = codecs.BOM_UTF8

_MARKS = {  # the longer ones first: a mark of UTF-32 begins with one of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip


class EmptyFile(ReadError):
    """A file without a byte of text. ``empty_files="skip"`` takes it as no rows."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} is empty (0 bytes). Remedy: write it again, leave it out with match= or paths=, or take empty "
            "files as files without rows with empty_files='skip'"
        )


@dataclass(frozen=True)
class TextRows:
    """Rows of a text: lines or records, whole.

    Attributes:
        data: their text, with all between them.
        starts: int64 (n,), where each row begins in ``data``.
        stops: int64 (n,), where it ends, without its line break.
    """

    data: bytes
    starts: np.ndarray
    stops: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def one(self, i: int) -> bytes:
        """The text of row ``i``."""
        return self.data[self.starts[i] : self.stops[i]]

    def text(self, a: int, b: int) -> bytes:
        """The text of the rows a..b-1."""
        return self.data[self.starts[a] : self.stops[b - 1]] if a < b else b""


def text_blocks(
    file: IO[bytes], where: str, block_bytes: int, *, encoding: str = "utf-8", remedy: str
) -> Iterator[bytes]:
    """The text of a file as UTF-8, without a byte order mark at its beginning.

    Args:
        file: plain or compressed; read from its beginning.
        where: the file's address, for messages.
        block_bytes: the size of a block before it is decoded; no block is empty.
        encoding: what the text is stored in, as Python names it. Bytes of UTF-8 come as they are, right or wrong.
        remedy: what to do about a text of another encoding.

    Raises:
        EmptyFile: there is no byte.
        ReadError: the file cannot be decompressed, or holds bytes that are no text in its encoding; names the file.
    """
    blocks, utf8, empty = plain_blocks(file, where, block_bytes), is_utf8(encoding), True
    if not utf8:
        blocks = _decoded(blocks, where, encoding)
    for block in blocks:
        text = block
        if empty:
            empty = False
            if utf8:
                _refuse_marks(text, where, remedy)
            text = text.removeprefix(BOM)
        if text:
            yield text
    if empty:
        raise EmptyFile(where)


def is_utf8(encoding: str) -> bool:
    """Whether a text of this encoding is UTF-8 already, a mark at its beginning aside."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


def _refuse_marks(text: bytes, where: str, remedy: str) -> None:
    mark = next((mark for mark in _MARKS if text.startswith(mark)), None)
    kind = _MARKS[mark] if mark else None
    if mark is None and b"\0" in text[:2]:  # a text of UTF-16 or UTF-32 without a mark begins with one ASCII letter
        kind = "UTF-32" if b"\0\0" in text[:4] else "UTF-16"
        kind = kind if text[:4].strip(b"\0") else None
    if kind is not None:
        raise ReadError(f"{where} is {kind} (its first bytes are {text[:4]!r}); expected UTF-8. Remedy: {remedy}")


def _decoded(blocks: Iterator[bytes], where: str, encoding: str) -> Iterator[bytes]:
    decoder, at = codecs.getincrementaldecoder(encoding)("strict"), 0
    try:
        for block in blocks:
            if text := decoder.decode(block).encode():
                yield text
            at += len(block)
        if text := decoder.decode(b"", True).encode():
            yield text
    except UnicodeError as exc:
        raise ReadError(
            f"{where}: about byte {at} there is no text of {encoding}: {exc}. Remedy: say the encoding that the file "
            "has (Python's names, such as 'utf-8', 'latin-1', 'cp1252', 'utf-16')"
        ) from exc


def longest_row(where: str, row: str, size: int, hint: str) -> None:
    """Raise if a row of ``size`` bytes, or the part of it that has been read, is longer than rows may be."""
    if size > MAX_ROW_BYTES:
        raise ReadError(
            f"{where}: {row} has more than {MAX_ROW_BYTES} bytes, and a row is read whole. Remedy: {hint}, or leave "
            "the file out with match= or paths="
        )
