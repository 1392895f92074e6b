"""Compressed text files: gzip, Zstandard, bzip2 and xz around NDJSON and CSV, decompressed block by block.

The first bytes of a file say how it is compressed: gzip below the name ``orders.csv`` is read as well. A name that says
compressed above bytes that are not is an error, since the first bytes may be what was damaged. Several members or
frames, one after another, are one text. A stream that ends early, that is damaged, or that something else follows is
an error of its file.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol

import pyarrow as pa

from json2vec.errors import ReadError

ENDINGS = (".gz", ".zst", ".bz2", ".xz")
"""What may follow the ending of a text format."""

_READ_BYTES = 1 << 20  # compressed bytes asked for at a time
_LONGEST_MAGIC = 12
_GZIP, _ZSTD, _XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00"
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")  # of data, or of none
_FOREIGN = {
    b"PK\x03\x04": "a zip archive", b"PK\x05\x06": "a zip archive", b"\x04\x22\x4d\x18": "LZ4",
    b"\xff\x06\x00\x00sNaPpY": "Snappy", b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"\x1f\x9d": "of compress (.Z)",
    b"PAR1": "Parquet", b"ARROW1": "Feather (Arrow IPC)", b"ORC": "ORC", b"Obj\x01": "Avro",
}  # fmt: skip
_NO_TEXT = re.compile(rb"[^\t\r\n -~]")


def compressible(*endings: str) -> tuple[str, ...]:
    """``endings``, and those of the same files compressed: ``.csv`` and ``.csv.gz``."""
    return (*endings, *(ending + packed for ending in endings for packed in ENDINGS))


class _Decompressor(Protocol):
    """What `bz2.BZ2Decompressor` and `lzma.LZMADecompressor` have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """`zlib` with the interface of the others, which keep what they have not looked at."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)  # 31: a gzip header and its checksum

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


_MEMBERS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _Gzip, "bzip2": bz2.BZ2Decompressor, "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)
}  # fmt: skip


def compression(head: bytes) -> str | None:
    """How bytes that begin with ``head`` are compressed: gzip, zstd, bzip2, xz, or None.

    Args:
        head: the first bytes, at least 12 where there are so many.
    """
    if head.startswith(_GZIP):
        return "gzip"
    # A skippable frame, as parallel compressors write it, begins with any of 16 numbers.
    if head.startswith(_ZSTD) or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    if head.startswith(_XZ):
        return "xz"
    if head[:3] == b"BZh" and b"1" <= head[3:4] <= b"9" and head[4:10] in _BZIP2_BLOCKS:
        return "bzip2"
    return None


def plain_blocks(file: IO[bytes], where: str, block_bytes: int) -> Iterator[bytes]:
    """The text of a file, decompressed where it is compressed, in blocks of at most ``block_bytes``.

    Memory is bounded by a few blocks, however much a file decompresses to.

    Args:
        file: read from its beginning.
        where: the file's address, for messages.
        block_bytes: the size of a block.

    Raises:
        ReadError: the stream ends early, is damaged or compressed twice, something else follows it, or the file is of
            a kind that holds no text; names the file.
    """
    file.seek(0)
    head = file.read(_LONGEST_MAGIC)
    file.seek(0)
    kind = compression(head)
    _refuse_foreign(head, where)
    if kind is None:
        if head and where.lower().endswith(ENDINGS):
            raise ReadError(
                f"{where}: its name says that it is compressed, but its first bytes {head!r} are not of gzip, zstd, "
                "bzip2 or xz. Remedy: give a plain file another name; write a damaged one again"
            )
        while block := file.read(block_bytes):
            yield block
        return
    blocks = _zstd(file, block_bytes) if kind == "zstd" else _members(file, kind, where, block_bytes)
    try:
        first = next(blocks, b"")
        if twice := compression(first[:_LONGEST_MAGIC]):
            raise ReadError(f"{where} is compressed twice: {kind} around {twice}. Remedy: unpack it once")
        _refuse_foreign(first, where)
        if first:
            yield first
        yield from blocks
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as exc:
        if isinstance(exc, ReadError):
            raise
        raise ReadError(
            f"{where}: its {kind} stream is cut short or damaged: {exc}. Remedy: write the file again, or leave it out "
            "with match= or paths="
        ) from exc


def _refuse_foreign(head: bytes, where: str) -> None:
    kind = next((kind for magic, kind in _FOREIGN.items() if head.startswith(magic)), None)
    # A text may begin with the letters ORC; what follows them in such a file is no text.
    if kind is not None and _NO_TEXT.search(head[:_LONGEST_MAGIC]):
        raise ReadError(
            f"{where} is {kind}; expected text, plain or compressed with gzip, zstd, bzip2 or xz. Remedy: say the "
            "suffix of its format, unpack it, or leave it out with match= or paths="
        )


def _members(file: IO[bytes], kind: str, where: str, block_bytes: int) -> Iterator[bytes]:
    """The members of a gzip, bzip2 or xz file, one after another."""
    data = file.read(_READ_BYTES)
    while data:
        member = _MEMBERS[kind]()
        while not member.eof:
            out = member.decompress(data, block_bytes)
            data = b""
            if out:
                yield out
            elif not member.eof and not (data := file.read(_READ_BYTES)):
                raise EOFError("the stream ends before its end marker")
        data = member.unused_data
        # Zeros may fill up the last block of a device; they are no data.
        while not (data := data.lstrip(b"\0")) and (more := file.read(_READ_BYTES)):
            data = more
        if 0 < len(data) < _LONGEST_MAGIC:
            data += file.read(_READ_BYTES)
        if data and compression(data[:_LONGEST_MAGIC]) != kind:
            raise ReadError(
                f"{where}: something that is not {kind} follows the {kind} stream: {data[:16]!r}. Remedy: write the "
                "file again, or leave it out with match= or paths="
            )


def _zstd(file: IO[bytes], block_bytes: int) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(_Kept(file), "r"), "zstd") as stream:
        while block := stream.read(block_bytes):
            yield block


class _Kept:
    """A file that its reader does not close."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, *where: Any) -> int:
        return self._file.seek(*where)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def flush(self) -> None: ...

    def close(self) -> None: ...
