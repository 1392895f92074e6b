"""One `Store` for local folders and object stores: list, read, write, and conditional writes.

Everything above this file speaks of a root (a local path, ``file://`` or ``s3://`` URI) and of paths relative to it,
with ``/`` between their parts. Nothing above it asks which kind of store it has.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from json2vec.storage.local import LocalStore
from json2vec.storage.schemes import open_scheme
from json2vec.storage.store import Store


def open_store(root: str | os.PathLike[str] | Store, storage_options: dict[str, Any] | None = None) -> Store:
    """The store that serves ``root``.

    Args:
        root: a local path (relative to the working directory or absolute), a ``file://`` URI, an ``s3://`` URI or a
            URI of another scheme that `json2vec.storage.schemes` knows; a store that is open already is returned as it
            is.
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
    return open_scheme(scheme, text, storage_options)


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


