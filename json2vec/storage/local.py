"""A folder of the local file system as a `Store`."""

from __future__ import annotations

import builtins
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn

from json2vec.errors import StoreError
from json2vec.storage.store import Entry, Store


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
