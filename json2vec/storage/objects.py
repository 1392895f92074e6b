"""`ObjectStore`: what every object store does alike, on top of list, read, write, upload and delete of single objects.

A further kind of object store is a subclass of this one, in a file of its own, as `json2vec.storage.s3` is.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from json2vec.errors import StoreError
from json2vec.storage.lease import lease
from json2vec.storage.lock import Lock
from json2vec.storage.store import Store, Usage


class ObjectStore(Store):
    """The part of `Store` that follows from the rest where there are objects instead of files.

    A subclass adds ``root``, `uri`, `below`, `list`, `folders`, `stat`, `open`, `read`, `write`, `upload`, `copy`,
    `delete`, `now` and, if polars needs any, `polars_options`; `above`, if the folders above a root shall be known.
    """

    def above(self) -> Store | None:
        return None

    def exists(self) -> bool:
        return True  # a folder begins with its first object

    def prepare(self) -> None:
        pass

    def usage(self, path: str = "") -> Usage:
        entries = list(self.list(path))
        return Usage(sum(entry.size for entry in entries), max((entry.modified for entry in entries), default=0.0))

    def local_copy(self, path: str, folder: str | os.PathLike[str]) -> Path:
        place = hashlib.sha256(f"{self.uri(path)}\n{self.stat(path).version}".encode()).hexdigest()[:16]
        name = path.rpartition("/")[2]
        target = Path(folder, place, name)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{name}.{secrets.token_hex(4)}.tmp")
            try:
                with self.open(path) as file, open(partial, "wb") as copy:
                    shutil.copyfileobj(file, copy, 1 << 20)
                os.replace(partial, target)
            finally:
                partial.unlink(missing_ok=True)
        return target

    def polars_options(self) -> dict[str, Any]:
        return {}

    def append(self, path: str, data: bytes) -> None:
        try:
            before = self.read(path)
        except FileNotFoundError:
            before = b""
        self.write(path, before + data)

    def keep(self, local: str | os.PathLike[str], path: str) -> None:
        self.write(path, Path(local).read_bytes())

    def workspace(self, scratch: Path) -> Path:
        return scratch

    def free_bytes(self) -> int | None:
        return None

    def set_aside(self, path: str, to: str, *, first: str = "") -> None:
        head = f"{path}/{first}"
        names = [entry.path for entry in self.list(path)]
        self.delete(*sorted(names, key=lambda name: name != head))

    def remove_tree(self, path: str) -> None:
        if not path.strip("/"):
            raise StoreError(f"{self.uri()} is a store's root; expected a folder below it to remove")
        self.delete(*[entry.path for entry in self.list(path)])

    def lock(self, name: str, note: Mapping[str, object], *, wait_s: float) -> AbstractContextManager[Lock]:
        return lease(self, name, note, wait_s=wait_s)
