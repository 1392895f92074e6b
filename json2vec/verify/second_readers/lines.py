"""Text files as lines, decompressed: by Python's own modules, a block at a time."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from json2vec.verify.second_readers.nearby import NearbyFile

_BLOCK_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


def is_compressed(file: NearbyFile) -> bool:
    return _compression(file.head(6)) is not None


def _compression(head: bytes) -> str | None:
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"BZh"):
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    return None


def open_text(file: NearbyFile) -> Any:
    """A text file's bytes for reading, from the beginning, decompressed if they are compressed."""
    packed = _compression(file.head(6))
    handle = file.open()
    if packed == "gzip":
        return gzip.GzipFile(fileobj=handle)
    if packed == "bzip2":
        return bz2.BZ2File(handle)
    if packed == "xz":
        return lzma.LZMAFile(handle)
    if packed == "zstd":
        return pa.CompressedInputStream(handle, "zstd")
    return handle


class Lines:
    """The lines of a block that are not blank.

    Attributes:
        block: bytes that end with a line.
        starts: int64 (n,), where the lines begin in the block.
        stops: int64 (n,), where they end, without their line breaks.
    """

    def __init__(self, block: bytes, blank: bytes) -> None:
        codes = np.frombuffer(block, np.uint8)
        stops = np.flatnonzero(codes == ord("\n"))
        if not len(stops) or stops[-1] < len(block) - 1:
            stops = np.append(stops, len(block))
        starts = np.concatenate([[0], stops[:-1] + 1])
        keep = starts < stops
        for i in np.flatnonzero(codes[np.minimum(starts, len(block) - 1)] <= ord(" ")).tolist():
            keep[i] = bool(block[starts[i] : stops[i]].strip(blank))
        self.block, self.starts, self.stops = block, starts[keep], stops[keep]

    def __len__(self) -> int:
        return len(self.starts)

    def places(self, character: bytes) -> np.ndarray:
        """int64, ascending: where in the block an ASCII character is."""
        return np.flatnonzero(np.frombuffer(self.block, np.uint8) == ord(character))

    def __getitem__(self, i: int) -> bytes:
        return self.block[self.starts[i] : self.stops[i]]


def line_blocks(file: NearbyFile, blank: bytes) -> Iterator[Lines]:
    """A text file block by block.

    Args:
        file: the text, perhaps compressed.
        blank: characters of which a line that is no row consists.
    """
    with open_text(file) as handle:
        parts: list[bytes] = []
        first = True
        while data := handle.read(_BLOCK_BYTES):
            if first:
                data, first = data.removeprefix(_BOM), False
            cut = data.rfind(b"\n") + 1
            if cut:
                yield Lines(b"".join([*parts, data[:cut]]), blank)
                parts = []
            parts.append(data[cut:])
        if rest := b"".join(parts):
            yield Lines(rest, blank)


def picked(blocks: Iterator[Lines], rows: Sequence[int], skip: int = 0) -> tuple[dict[int, bytes], int]:
    """Lines by their numbers, and how many there are.

    Args:
        blocks: of `line_blocks`.
        rows: ascending numbers.
        skip: lines before the one that has number 0.
    """
    found: dict[int, bytes] = {}
    at, i = -skip, 0
    for lines in blocks:
        while i < len(rows) and rows[i] < at + len(lines):
            found[rows[i]] = lines[rows[i] - at]
            i += 1
        at += len(lines)
    return found, at
