"""`Store`, the protocol that every kind of storage has: list, read, write, conditional writes, and what differs.

Everything above this room speaks of a root (a local path, ``file://`` or ``s3://`` URI) and of paths relative to it,
with ``/`` between their parts. Nothing above it asks which kind of store it has: what a disk and a bucket do
differently is a method here. An example: the rank writer asks for a `Store.workspace`, writes its open file there and
calls `Store.upload`. On a disk the workspace is the folder itself and the upload a rename; in a bucket it is a scratch
folder and the upload sends bytes.

A class that follows this protocol can show so with `json2vec.storage.contract.StoreContract`.
"""

from __future__ import annotations

import builtins
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from json2vec.storage.lock import Lock


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a store.

    Attributes:
        path: relative to the store's root, ``/`` between parts, spelled as the store spells it (never URL-quoted).
        size: how many bytes the file has.
        version: changes whenever the content is written again: an object's ETag, a local file's mtime in nanoseconds.
        modified: seconds since 1970-01-01 UTC.
    """

    path: str
    size: int
    version: str
    modified: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What a folder of a store takes up.

    Attributes:
        bytes: how many bytes removing it gives back. A file with a second name (see `Store.copy`) gives none.
        modified: seconds since 1970-01-01 UTC, when anything in it was last written; 0.0 where there is nothing.
    """

    bytes: int
    modified: float


class Store(Protocol):
    """Files under one root.

    All methods take paths relative to the root. They raise `StoreError` (with the full address) when the store refuses
    or when a path leaves the root, and `FileNotFoundError` where a single file does not exist. A folder is no file.

    Stores can be pickled: worker processes get them.

    Attributes:
        root: full address of the root, absolute.
    """

    root: str

    # -- the root ------------------------------------------------------------------------------------------------------

    def uri(self, path: str = "") -> str:
        """The full address of ``path``, for messages and metadata."""
        ...

    def below(self, path: str) -> Store:
        """The store of the same kind, with the same options, whose root is the folder ``path`` of this one."""
        ...

    def above(self) -> Store | None:
        """The store whose root is the folder above this root, with the same options; None at the top of a disk or of a
        bucket, or where this kind of store cannot tell."""
        ...

    def exists(self) -> bool:
        """Whether the root can be listed. A local folder must be there. In an object store every prefix is: a folder
        begins with its first file."""
        ...

    def prepare(self) -> None:
        """Make the root where it has to be made before its first file.

        Raises:
            StoreError: the root is a file, or the disk refuses.
        """
        ...

    # -- looking -------------------------------------------------------------------------------------------------------

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """Every file below the folder ``prefix``, recursively, sorted by path. Links to folders are not followed.

        Args:
            prefix: the folder to list; the empty text is the root.
            after: where to begin: only files whose path is greater than this one are listed.

        Raises:
            StoreError: the root does not exist (see `exists`), or cannot be listed.
        """
        ...

    def folders(self, prefix: str = "", *, links: bool = True) -> builtins.list[str]:
        """Names of the folders right below the folder ``prefix``, sorted; none where there is no such folder.

        Args:
            prefix: the folder to look into; the empty text is the root.
            links: whether a link to a folder counts as one, ``prefix`` included. Object stores have no links.
        """
        ...

    def stat(self, path: str) -> Entry:
        """What is known of one file without reading it. The empty path asks whether the root itself is a file.

        Raises:
            FileNotFoundError: there is no file of that path.
        """
        ...

    def usage(self, path: str = "") -> Usage:
        """What the folder ``path`` takes up, and when it was last written to."""
        ...

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC, by the clock that sets `Entry.modified`: the server's, where there is one."""
        ...

    # -- reading -------------------------------------------------------------------------------------------------------

    def open(self, path: str) -> IO[bytes]:
        """A seekable binary reader, usable by pyarrow.

        Raises:
            FileNotFoundError: there is no file of that path.
        """
        ...

    def read(self, path: str) -> bytes:
        """The whole content of a file.

        Raises:
            FileNotFoundError: there is no file of that path.
        """
        ...

    def local_copy(self, path: str, folder: str | os.PathLike[str]) -> Path:
        """A file of this store on the local disk, for libraries that take nothing but a path.

        Args:
            path: where the file is in this store.
            folder: the local folder in which a copy is put, once for each version, if the file does not lie on the
                local disk anyway.

        Raises:
            FileNotFoundError: there is no file of that path.
        """
        ...

    def polars_options(self) -> dict[str, Any]:
        """``storage_options`` with which polars reads `uri` addresses of this store; empty where it needs none."""
        ...

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        """Replace ``path`` atomically and durably; returns the new version.

        Args:
            path: where to write; folders above it are made.
            data: the whole content of the file.
            if_absent: write only where nothing is there yet.
            if_version: write only where the file has this version.

        Raises:
            FileExistsError: a condition did not hold. (Bytes equal to ours count as success: a reply may get lost.)
        """
        ...

    def append(self, path: str, data: bytes) -> None:
        """Add ``data`` to the end of a file, which is made where it is missing, durably.

        One writer a file: an object store can only write the whole of it again. What a crash leaves is the old
        content, perhaps followed by a part of ``data``.
        """
        ...

    def upload(self, local: str | os.PathLike[str], path: str, *, sha256: str) -> None:
        """Move a finished local file under ``path``, atomically and durably; ``local`` is gone then.

        Args:
            local: the finished file, on any disk; from the `workspace` of this store it moves for free.
            path: where the file goes in this store.
            sha256: SHA-256 (hex) of the file's bytes; an object store refuses bytes that arrive with another one.
        """
        ...

    def keep(self, local: str | os.PathLike[str], path: str) -> None:
        """Put a copy of a small local file under ``path``. ``local`` stays; where it is that file already (as in the
        `workspace` of a local folder), nothing happens."""
        ...

    def copy(self, source: Store, source_path: str, path: str) -> None:
        """Put a file of ``source``, which will not change any more, under ``path`` too: linked or copied where it
        lies, if that is possible.

        Args:
            source: the store that has the file, of any kind.
            source_path: where the file is in ``source``.
            path: where the copy goes in this store.

        Raises:
            FileNotFoundError: ``source`` has no such file.
        """
        ...

    def workspace(self, scratch: Path) -> Path:
        """The folder on this machine for files on their way into this store. Nothing is made.

        Args:
            scratch: a local folder to be used where the root is not on a local disk; a root that is on one is its own
                workspace, so that `upload` only renames.
        """
        ...

    def free_bytes(self) -> int | None:
        """How many bytes more the store takes; None where there is no limit that one could know."""
        ...

    # -- removing ------------------------------------------------------------------------------------------------------

    def delete(self, *paths: str) -> None:
        """Remove files in the order given, durably; a path that is not there is no error."""
        ...

    def set_aside(self, path: str, to: str, *, first: str = "") -> None:
        """Make a folder vanish for everybody who reads it, whatever interrupts us.

        A disk renames it, at once; what it held waits under ``to`` for `remove_tree`. An object store cannot rename: it
        removes the objects one by one.

        Args:
            path: the folder that vanishes.
            to: the name that it waits under, which nobody reads.
            first: the path, relative to the folder, of the file without which nobody takes the rest for anything; where
                files are removed one by one it goes first.
        """
        ...

    def remove_tree(self, path: str) -> None:
        """Remove a folder below the root with all that is in it; one that is not there is no error. Whoever looks
        meanwhile sees a part of it: see `set_aside`.

        Raises:
            StoreError: the path is a link or lies behind one, so that what would go is not below the root.
        """
        ...

    # -- keeping others out --------------------------------------------------------------------------------------------

    def lock(self, name: str, note: Mapping[str, object], *, wait_s: float) -> AbstractContextManager[Lock]:
        """Hold a lock that one process at a time can have; a holder that died loses it.

        A disk uses flock, which the kernel lets go at once. An object store uses a lease (`json2vec.storage.lease`),
        which runs out.

        Args:
            name: path of the file or object that stands for the lock; it stays.
            note: plain values that are written into it, for others to read.
            wait_s: seconds to wait for another living holder. To find out whether a lease's holder is alive may take
                longer than that: up to `lease.RENEW_S` seconds, or `lease.LEASE_S` if it is not.

        Raises:
            LockHeld: on entering; another living process holds it still.
        """
        ...


def stored_sha256(store: Store, path: str) -> str:
    """SHA-256 (hex) of a stored file's bytes, read as a stream.

    Raises:
        FileNotFoundError: there is no file of that path.
        StoreError: the store refused.
    """
    # One buffer for the whole file: a fresh block a read costs more page faults than the hash costs time.
    digest, buffer = hashlib.sha256(), bytearray(1 << 18)
    view = memoryview(buffer)
    with store.open(path) as file:
        while size := file.readinto(buffer):  # type: ignore[attr-defined]
            digest.update(view[:size])
    return digest.hexdigest()
