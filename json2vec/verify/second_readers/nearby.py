"""Input files where a library that takes nothing but a path can read them.

A local file gets a link with a harmless name: neither a ``*`` nor ``dt=2026-01-31/`` in a path may mean anything to the
library. Of a file in an object store the parts that are asked for are fetched into a file of the same size, within a
limit for all files together.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO

from json2vec.storage.store import Store

FETCH_BYTES = 64 << 20
"""Bytes that one verification fetches from an object store for the second reader."""


class NotCompared(Exception):
    """A file, or a part of one, that the second reader cannot read; the message says why."""


class Nearby:
    """Makes `NearbyFile`s.

    Args:
        store: where the input files are.
        folder: a local folder for links and copies.
        limit: bytes that are fetched in all, of files that are not on the local disk.
    """

    def __init__(self, store: Store, folder: Path, limit: int = FETCH_BYTES) -> None:
        self.store, self.folder, self.left, self._made = store, folder, limit, 0

    def file(self, path: str) -> NearbyFile:
        self._made += 1
        return NearbyFile(self, path, self.folder / f"{self._made}{os.path.splitext(path)[1].lower()}")

    def reserve(self, size: int) -> None:
        """Take ``size`` bytes of what may be fetched.

        Raises:
            NotCompared: fewer are left.
        """
        if size > self.left:
            raise NotCompared(f"{size} bytes would have to be fetched, {self.left} may be")
        self.left -= size


class NearbyFile:
    """One input file.

    Args:
        nearby: what made it.
        path: the file's, relative to the store's root.
        place: where its link or copy goes.
    """

    def __init__(self, nearby: Nearby, path: str, place: Path) -> None:
        self._nearby, self.path, self._place = nearby, path, place
        self._handle: IO[bytes] | None = None
        self._fetched: set[tuple[int, int]] = set()
        self._linked = False

    @property
    def address(self) -> str:
        return self._nearby.store.uri(self.path)

    def open(self) -> IO[bytes]:
        """The whole file for reading, from its beginning.

        Raises:
            NotCompared: it is not on the local disk and too large.
        """
        handle = self._open()
        if not self._is_local(handle):
            self._fetch(0, self.size())
            return open(self._place, "rb")
        handle.seek(0)
        return handle

    def is_far(self) -> bool:
        """Whether its bytes have to be fetched."""
        return not self._is_local(self._open())

    def size(self) -> int:
        """Bytes."""
        return self._open().seek(0, os.SEEK_END)

    def whole(self) -> Path:
        """A local path of the file.

        Raises:
            NotCompared: it is not on the local disk and too large.
        """
        return self.parts([(0, self.size())])

    def parts(self, ranges: list[tuple[int, int]]) -> Path:
        """A local path of the file, of which at least the given bytes are there.

        Args:
            ranges: half-open ranges of bytes.

        Raises:
            NotCompared: they are not on the local disk and too many.
        """
        handle = self._open()
        if not self._is_local(handle):
            for start, stop in ranges:
                self._fetch(start, stop)
        elif not self._linked:
            os.symlink(self._nearby.store.local_copy(self.path, self._nearby.folder).absolute(), self._place)
            self._linked = True
        return self._place

    def head(self, size: int) -> bytes:
        """The first ``size`` bytes, or all where the file is shorter."""
        handle = self._open()
        handle.seek(0)
        return handle.read(size)

    def tail(self, size: int) -> bytes:
        """The last ``size`` bytes, or all where the file is shorter."""
        handle, length = self._open(), self.size()
        handle.seek(max(0, length - size))
        return handle.read(size)

    def close(self) -> None:
        """Let the file go and remove its copy."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
        self._place.unlink(missing_ok=True)

    def _open(self) -> IO[bytes]:
        if self._handle is None or self._handle.closed:
            self._handle = self._nearby.store.open(self.path)
        return self._handle

    @staticmethod
    def _is_local(handle: IO[bytes]) -> bool:
        return isinstance(handle, io.BufferedReader)

    def _fetch(self, start: int, stop: int) -> None:
        if (start, stop) in self._fetched:
            return
        self._nearby.reserve(stop - start)
        handle, size = self._open(), self.size()
        with open(self._place, "r+b" if self._place.exists() else "w+b") as copy:
            copy.truncate(size)
            handle.seek(start)
            copy.seek(start)
            left = stop - start
            while left and (data := handle.read(min(left, 1 << 20))):
                copy.write(data)
                left -= len(data)
        self._fetched.add((start, stop))
