"""A folder of the local file system as a `Store`."""

from __future__ import annotations

import builtins
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from json2vec.errors import StoreError
from json2vec.storage.lock import Lock, LockHeld
from json2vec.storage.store import Entry, Store, Usage

_POLL_S = 0.1


class LocalStore:
    """A folder of the local file system. Writes go to a temporary name, are synced to disk and renamed.

    Args:
        root: the folder, which need not exist; ``~`` and relative paths are made absolute.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        address: str = os.fspath(root)
        self.root = os.path.abspath(os.path.expanduser(address))

    def uri(self, path: str = "") -> str:
        return os.path.join(self.root, path) if path else self.root

    def _local(self, path: str) -> Path:
        relative = PurePosixPath(path)
        if relative.is_absolute() or ".." in relative.parts or "\0" in path:
            raise StoreError(f"path {path!r} leaves the root {self.root}: expected a relative path without '..'")
        return Path(self.root, path)

    def below(self, path: str) -> LocalStore:
        return LocalStore(self._local(path))

    def above(self) -> LocalStore | None:
        here = os.path.realpath(self.root)  # what is above a link is what is above the folder that it leads to
        return None if os.path.dirname(here) == here else LocalStore(os.path.dirname(here))

    def exists(self) -> bool:
        return os.path.isdir(self.root)

    def prepare(self) -> None:
        if os.path.exists(self.root) and not self.exists():
            raise StoreError(f"{self.root} is a file; expected a folder. Remedy: choose another path")
        try:
            os.makedirs(self.root, exist_ok=True)
        except OSError as exc:
            raise StoreError(
                f"cannot make the folder {self.root}: {exc}. Remedy: make room or fix permissions, then try again"
            ) from exc

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
                listed = [(below + entry.name, entry.is_dir(), entry.is_symlink()) for entry in entries]
        except FileNotFoundError:
            return  # removed since it was listed
        except OSError as exc:
            _raise(exc)
        # Sorted as the whole paths are: what lies in folder `a` comes after file `a-b`, since "-" < "/".
        # Links to folders are not followed: they may lead out of the root, or in a circle.
        paths = sorted(f"{path}/" if is_dir else path for path, is_dir, link in listed if not (is_dir and link))
        for path in paths:
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
        except OSError as exc:  # links in a circle
            raise StoreError(f"{self.uri(path)} cannot be looked at: {exc}. Remedy: mend or remove it") from exc

    def folders(self, prefix: str = "", *, links: bool = True) -> builtins.list[str]:
        base = self._local(prefix)
        if not base.is_dir() or not (links or self._is_inside(prefix)):
            return []
        return sorted(entry.name for entry in os.scandir(base) if entry.is_dir(follow_symlinks=links))

    def stat(self, path: str) -> Entry:
        status = os.stat(self._local(path))
        if stat.S_ISDIR(status.st_mode):
            raise FileNotFoundError(f"{self.uri(path)} is a folder, no file")
        return Entry(path, status.st_size, str(status.st_mtime_ns), status.st_mtime)

    def usage(self, path: str = "") -> Usage:
        folder = self._local(path)
        if not folder.is_dir():
            return Usage(0, 0.0)
        size, newest = 0, folder.stat().st_mtime
        for parent, _, names in os.walk(folder):
            for name in names:
                status = os.lstat(os.path.join(parent, name))
                newest = max(newest, status.st_mtime)
                size += status.st_size if status.st_nlink == 1 else 0
        return Usage(size, newest)

    def now(self) -> float:
        return time.time()

    def open(self, path: str) -> IO[bytes]:
        # Without waiting: to open a pipe takes until somebody writes to it.
        file = open(  # noqa: SIM115 - the caller closes it
            self._local(path), "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        )
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            file.close()
            kind = "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
            raise OSError(f"{self.uri(path)} is {kind}; expected a file. Remedy: remove it, or leave it out")
        return file

    def read(self, path: str) -> bytes:
        with self.open(path) as file:
            return file.read()

    def local_copy(self, path: str, folder: str | os.PathLike[str]) -> Path:
        self.stat(path)
        return self._local(path)

    def polars_options(self) -> dict[str, Any]:
        return {}

    def write(self, path: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        target = self._local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if if_absent:
                try:
                    os.link(temporary, target)  # unlike rename, link fails where the target exists
                except FileExistsError:
                    if target.read_bytes() != data:
                        raise FileExistsError(f"{target} exists already with other content") from None
            else:
                # From comparing versions to replacing, no other writer under a condition gets in, paused or not.
                with _locked(target.parent) if if_version is not None else contextlib.nullcontext():
                    _replace(temporary, target, if_version)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
        return self.stat(path).version

    def append(self, path: str, data: bytes) -> None:
        target = self._local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():
            raise StoreError(f"{target} is a link; expected a file of its own to add to. Remedy: remove the link")
        with open(target, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(target.parent)

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

    def keep(self, local: str | os.PathLike[str], path: str) -> None:
        target = self._local(path)
        if target.exists() and os.path.samefile(local, target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(local, "rb") as file:
            _copy_durably(file, target)
        sync_folder(target.parent)

    def copy(self, source: Store, source_path: str, path: str) -> None:
        target = self._local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not isinstance(source, LocalStore):
                raise OSError("lies elsewhere")
            os.link(source._local(source_path), target)  # a second name for a file that never changes
        except FileNotFoundError:
            raise
        except OSError:
            with source.open(source_path) as file:
                _copy_durably(file, target)
        sync_folder(target.parent)

    def workspace(self, scratch: Path) -> Path:
        return Path(self.root)

    def free_bytes(self) -> int | None:
        folder = Path(self.root)
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def delete(self, *paths: str) -> None:
        targets = [self._local(path) for path in paths]
        for target in targets:
            target.unlink(missing_ok=True)
        for folder in dict.fromkeys(target.parent for target in targets):
            with contextlib.suppress(FileNotFoundError):
                sync_folder(folder)

    def set_aside(self, path: str, to: str, *, first: str = "") -> None:
        os.rename(self._local(path), self._local(to))

    def remove_tree(self, path: str) -> None:
        folder = self._local(path)
        if folder == Path(self.root):
            raise StoreError(f"{self.root} is a store's root; expected a folder below it to remove")
        if not self._is_inside(path):
            raise StoreError(
                f"{folder} is, or lies behind, a link; expected a folder that is itself below {self.root}. Nothing was "
                "removed. Remedy: remove the link, or what it leads to, by hand"
            )
        shutil.rmtree(folder, ignore_errors=not folder.exists())

    def _is_inside(self, path: str) -> bool:
        """Whether no part of ``path`` below the root is a link, which may lead anywhere."""
        parts = PurePosixPath(path).parts
        return not any(os.path.islink(Path(self.root, *parts[: end + 1])) for end in range(len(parts)))

    @contextlib.contextmanager
    def lock(self, name: str, note: Mapping[str, object], *, wait_s: float) -> Generator[Lock]:
        path = self._local(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never removed: whoever locked a removed file and whoever made it anew would both hold "the" lock.
        with _open_lock(path) as file:
            deadline = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise LockHeld(str(path), _read_note(path)) from None
                    time.sleep(_POLL_S)
            file.truncate(0)
            file.write(json.dumps(dict(note)).encode())
            file.flush()
            yield _Flock()


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(temporary: Path, target: Path, expected_version: str | None) -> None:
    """Rename ``temporary`` to ``target``, as a version that ``target`` did not have.

    Raises:
        FileExistsError: ``target`` is not at the expected version; None expects nothing.
    """
    try:
        before = os.stat(target).st_mtime_ns
    except FileNotFoundError:
        before = None
    if expected_version is not None and str(before) != expected_version:
        raise FileExistsError(f"{target} is not at version {expected_version} any more; another writer replaced it")
    # The kernel's clock ticks every few milliseconds: two writes within a tick would have one version.
    now = os.stat(temporary)
    if before is not None and now.st_mtime_ns <= before:
        os.utime(temporary, ns=(now.st_atime_ns, before + 1))
    os.replace(temporary, target)


class _Flock:
    """A lock that the kernel keeps for us for as long as its file is open."""

    def check(self) -> None:
        pass


def _open_lock(path: Path) -> IO[bytes]:
    """The lock's own file, which is made where it is missing; what is in it may be replaced.

    Raises:
        StoreError: a link, or anything else that is no plain file. What it leads to is not touched.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as exc:
        if exc.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        found = "a link" if path.is_symlink() else "no plain file"
        raise StoreError(
            f"lock {path} is {found}; expected a plain file, which a lock writes into. Nothing was touched. Remedy: "
            "remove it once no run is at work"
        ) from exc
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreError(f"lock {path} is no plain file; expected one. Nothing was touched. Remedy: remove it")
    return os.fdopen(descriptor, "a+b")


def _read_note(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _copy_durably(source: IO[bytes], target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


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
