"""One `Store` for local folders and object stores: list, read, write, and conditional writes.

Everything above this file speaks of a root (a local path, ``file://`` or ``s3://`` URI) and of paths relative to it,
with ``/`` between their parts. Nothing above it asks which kind of store it has.
"""

from __future__ import annotations

import builtins
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn, Protocol
from urllib.parse import unquote, urlsplit

from json2vec.errors import StoreError


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


def open_store(root: str | os.PathLike[str] | Store, storage_options: dict[str, Any] | None = None) -> Store:
    """The store that serves ``root``.

    Args:
        root: a local path (relative to the working directory or absolute), a ``file://`` URI or an ``s3://`` URI; a
            store that is open already is returned as it is.
        storage_options: passed to the object store's client; unused for local paths.

    Raises:
        StoreError: a scheme that no store serves.
    """
    if not isinstance(root, str | os.PathLike):
        return root
    text = os.fspath(root)
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme == "file":
        return LocalStore(unquote(urlsplit(text.replace("#", "%23").replace("?", "%3F")).path))
    if scheme == "":
        return LocalStore(text)
    if scheme == "s3":
        from json2vec.s3 import S3Store  # s3fs takes a second to import

        return S3Store(text, storage_options)
    raise StoreError(
        f"no store serves {text!r}: the scheme is {scheme!r}; expected a local path, file:// or s3://. "
        "Remedy: check the spelling of the root"
    )


class LocalStore:
    """A folder of the local file system. Writes go to a temporary name, are synced to disk and renamed."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(os.path.expanduser(os.fspath(root)))

    def uri(self, path: str = "") -> str:
        return os.path.join(self.root, path) if path else self.root

    def _local(self, path: str) -> Path:
        relative = PurePosixPath(path)
        if relative.is_absolute() or ".." in relative.parts or "\0" in path:
            raise StoreError(f"path {path!r} leaves the root {self.root}: expected a relative path without '..'")
        return Path(self.root, path)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        base = self._local(prefix)
        if not base.is_dir():
            if os.path.isdir(self.root):
                return  # as in an object store, where a folder without files does not exist
            raise StoreError(f"folder {base} does not exist. Remedy: check the root, or wait for its first file")
        yield from self._walk(base, f"{prefix}/" if prefix else "", after)

    def _walk(self, folder: Path, below: str, after: str) -> Iterator[Entry]:
        """The files of ``folder``, whose paths begin with ``below``; reads one folder's names at a time."""
        try:
            with os.scandir(folder) as entries:
                listed = [(below + one.name, one.is_dir(), one.is_symlink()) for one in entries]
        except FileNotFoundError:
            return  # removed since it was listed
        except OSError as exc:
            _raise(exc)
        # Sorted as the whole paths are: what lies in folder `a` comes after file `a-b`, since "-" < "/".
        # Links to folders are not followed: they may lead out of the root, or in a circle.
        found = sorted(f"{path}/" if is_dir else path for path, is_dir, link in listed if not (is_dir and link))
        for path in found:
            if not path.endswith("/"):
                if path > after and (entry := self._stat_listed(path)) is not None:
                    yield entry
            elif path >= after[: len(path)]:  # something in it may be past `after`
                yield from self._walk(Path(self.root, path), path, after)

    def _stat_listed(self, path: str) -> Entry | None:
        """`stat`, or None for a file that was removed or renamed since its folder was read."""
        try:
            return self.stat(path)
        except FileNotFoundError as exc:
            if os.path.islink(self._local(path)):
                raise StoreError(f"{self.uri(path)} is a link to nothing. Remedy: mend or remove it") from exc
            return None

    def folders(self, prefix: str = "") -> builtins.list[str]:
        base = self._local(prefix)
        return sorted(one.name for one in os.scandir(base) if one.is_dir()) if base.is_dir() else []

    def stat(self, path: str) -> Entry:
        status = os.stat(self._local(path))
        return Entry(path, status.st_size, str(status.st_mtime_ns), status.st_mtime)

    def open(self, path: str) -> IO[bytes]:
        return open(self._local(path), "rb")

    def read(self, path: str) -> bytes:
        with self.open(path) as file:
            return file.read()

    def write(self, path: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        target = self._local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if if_version is not None and (not target.exists() or self.stat(path).version != if_version):
                raise FileExistsError(f"{target} is not at version {if_version} any more; another writer replaced it")
            if if_absent:
                try:
                    os.link(temporary, target)  # unlike rename, link fails where the target exists
                except FileExistsError:
                    if target.read_bytes() != data:
                        raise FileExistsError(f"{target} exists already with other content") from None
            else:
                os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
        return self.stat(path).version

    def upload(self, local: str | os.PathLike[str], path: str, *, sha256: str) -> None:
        target = self._local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(local, target)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
            with open(local, "rb") as file:
                _copy_durably(file, target)
            os.unlink(local)
        sync_folder(target.parent)

    def copy(self, source: Store, source_path: str, path: str) -> None:
        target = self._local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        local = source.local_path(source_path)
        try:
            if local is None:
                raise OSError("lies elsewhere")
            os.link(local, target)  # a second name for a file that never changes
        except FileNotFoundError:
            raise
        except OSError:
            with source.open(source_path) as file:
                _copy_durably(file, target)
        sync_folder(target.parent)

    def delete(self, path: str) -> None:
        self._local(path).unlink(missing_ok=True)

    def local_path(self, path: str = "") -> Path:
        return self._local(path) if path else Path(self.root)

    def now(self) -> float:
        return time.time()


def _copy_durably(source: IO[bytes], target: Path) -> None:
    temporary = target.with_name(f"{target.name}.tmp")
    with open(temporary, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target)


def stored_sha256(store: Store, path: str) -> str:
    """SHA-256 (hex) of a stored file's bytes, read as a stream. Raises FileNotFoundError, `StoreError`."""
    # One buffer for the whole file: a fresh block a read costs more page faults than the hash costs time.
    digest, buffer = hashlib.sha256(), bytearray(1 << 18)
    view = memoryview(buffer)
    with store.open(path) as file:
        while size := file.readinto(buffer):  # type: ignore[attr-defined]
            digest.update(view[:size])
    return digest.hexdigest()


def fetch(
    uri: str | os.PathLike[str], folder: str | os.PathLike[str], storage_options: dict[str, Any] | None = None
) -> Path:
    """One file on the local disk: ``uri`` itself where it is local, else a copy in ``folder``, made once a version.

    Raises:
        FileNotFoundError: there is none. StoreError: the store refused.
    """
    text = os.fspath(uri)
    if "://" not in text:
        return Path(text)
    root, _, name = text.rpartition("/")
    store = open_store(root, storage_options)
    if (local := store.local_path(name)) is not None:
        return local
    place = hashlib.sha256(f"{text}\n{store.stat(name).version}".encode()).hexdigest()[:16]
    target = Path(folder, place, name)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{name}.{secrets.token_hex(4)}.tmp")
        try:
            with store.open(name) as file, open(partial, "wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    return target


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a local file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make renames inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> NoReturn:
    raise StoreError(f"cannot list {error.filename}: {error.strerror}") from error
