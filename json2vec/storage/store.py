"""`Store`, the protocol that every kind of storage has: list, read, write, and conditional writes.

Everything above this room speaks of a root (a local path, ``file://`` or ``s3://`` URI) and of paths relative to it,
with ``/`` between their parts.
"""

from __future__ import annotations

import builtins
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a store.

    Attributes:
        path: relative to the store's root, ``/`` between parts, spelled as the store spells it (never URL-quoted).
        size: bytes.
        version: changes whenever the content is written again: an object's ETag, a local file's mtime in nanoseconds.
        modified: seconds since 1970-01-01 UTC.
    """

    path: str
    size: int
    version: str
    modified: float


class Store(Protocol):
    """Files under one root.

    All methods take paths relative to the root and raise `StoreError` (with the full address) when the store refuses,
    `FileNotFoundError` where a single path does not exist.
    """

    root: str

    def uri(self, path: str = "") -> str:
        """The full address of ``path``, for messages and metadata."""
        ...

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """Every file below ``prefix``, recursively, sorted by path, whose path is greater than ``after``.

        Raises `StoreError` if a local root is missing.
        """
        ...

    def folders(self, prefix: str = "") -> builtins.list[str]:
        """Names of the folders right below ``prefix``, sorted; none where there is no such folder."""
        ...

    def stat(self, path: str) -> Entry: ...

    def open(self, path: str) -> IO[bytes]:
        """A seekable binary reader, usable by pyarrow."""
        ...

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        """Replace ``path`` atomically and durably; returns the new version.

        Args:
            if_absent: write only where nothing is there yet.
            if_version: write only over this version.

        Raises:
            FileExistsError: a condition did not hold. (Bytes equal to ours count as success: a reply may get lost.)
        """
        ...

    def upload(self, local: str | os.PathLike[str], path: str, *, sha256: str) -> None:
        """Move a finished local file under ``path``, atomically and durably; ``local`` is gone then.

        Args:
            sha256: hex, of the file's bytes; an object store refuses bytes that arrive with another one.
        """
        ...

    def copy(self, source: Store, source_path: str, path: str) -> None:
        """Put a file of ``source``, which will not change any more, under ``path`` too: linked or copied where it
        lies, if that is possible. Raises FileNotFoundError where there is none."""
        ...

    def delete(self, path: str) -> None:
        """Remove ``path``; a path that is not there is no error."""
        ...

    def local_path(self, path: str = "") -> Path | None:
        """``path`` on a local disk, or None in an object store."""
        ...

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC, by the clock that sets `Entry.modified`: the server's, where there is one."""
        ...


def stored_sha256(store: Store, path: str) -> str:
    """SHA-256 (hex) of a stored file's bytes, read as a stream. Raises FileNotFoundError, `StoreError`."""
    # One buffer for the whole file: a fresh block a read costs more page faults than the hash costs time.
    digest, buffer = hashlib.sha256(), bytearray(1 << 18)
    view = memoryview(buffer)
    with store.open(path) as file:
        while size := file.readinto(buffer):  # type: ignore[attr-defined]
            digest.update(view[:size])
    return digest.hexdigest()
