"""From an address, which a user wrote, to the `Store` that serves it. Only this file knows every kind.

An address is a local path (relative or absolute), a ``file://`` or an ``s3://`` URI. Whoever has to do something to
addresses as texts (make one absolute, write one relative to a file) does it with the functions here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from json2vec.storage.local import LocalStore
from json2vec.storage.schemes import open_scheme
from json2vec.storage.store import Store

Options = dict[str, Any] | None


def _open_local(address: str) -> Store:
    if _is_uri(address):
        address = unquote(urlsplit(address.replace("#", "%23").replace("?", "%3F")).path)
    return LocalStore(address)


def open_store(root: str | os.PathLike[str] | Store, storage_options: Options = None) -> Store:
    """The store that serves ``root``.

    Public functions call this once, at their beginning; what they call takes the `Store`.

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
    address = os.fspath(root)
    name = scheme(address)
    return _open_local(address) if name == "file" else open_scheme(name, address, storage_options)


def fetch(
    address: str | os.PathLike[str], folder: str | os.PathLike[str], storage_options: Options = None
) -> Path:
    """One file on the local disk: the one at ``address`` itself where it is local, else a copy.

    Args:
        address: where the file is, a local path or a URI.
        folder: the local folder in which a copy is put, once for each version.
        storage_options: passed to the object store's client.

    Raises:
        FileNotFoundError: there is no such file.
        StoreError: the store refused to give it.
    """
    parent, _, name = os.fspath(address).rpartition("/")
    if not _is_uri(os.fspath(address)):
        parent, name = os.path.split(os.path.abspath(address))
    return open_store(parent, storage_options).local_copy(name, folder)


def absolute(
    address: str | os.PathLike[str], home: str | os.PathLike[str] | None = None, *, links: bool = True
) -> str:
    """``address`` made absolute: ``shards`` below ``/data`` is ``/data/shards``, ``s3://bucket/shards`` stays.

    Args:
        address: a local path, ``~`` for the user's home allowed, or a URI.
        home: folder that a relative path is relative to; None takes the working directory.
        links: False follows links, so that two names of one folder are the same address. By default an address goes
            on naming what the user named.
    """
    text = os.fspath(address)
    if _is_uri(text):
        return text
    path = os.path.abspath(os.path.join(home if home is not None else "", os.path.expanduser(text)))
    return path if links else os.path.realpath(path)


def relative(
    address: str | os.PathLike[str], to: str | os.PathLike[str], home: str | os.PathLike[str] | None = None
) -> str:
    """``address`` as it is written into a file in the folder ``to``: ``/data/shards`` is ``../shards`` in
    ``/data/project``, ``s3://bucket/shards`` stays.

    Args:
        address: a local path, ``~`` for the user's home allowed, or a URI.
        to: the folder of the file that the address is written into.
        home: folder that a relative ``address`` is relative to; None takes the working directory.
    """
    text = absolute(address, home)
    return text if _is_uri(text) else os.path.relpath(text, os.path.abspath(to))


def canonical(address: str | os.PathLike[str]) -> str:
    """One spelling for all that a text alone shows to be one place: links, ``..``, ``file://`` and trailing slashes.

    Args:
        address: a local path or a URI.
    """
    text = os.fspath(address)
    if scheme(text) != "file":
        return text.rstrip("/")
    return os.path.realpath(_open_local(text).root)


def short_address(address: str, output: str) -> str:
    """``address`` as an owner is named by it: one spelling, relative to the output where both are on this disk.

    Args:
        address: a path, a URI, or ``kind:///path`` as warehouses name their tables.
        output: a pipeline's output, absolute.
    """
    kind, mark, path = address.partition("://")
    named = mark and kind != "file"  # of no store: a table's address
    if named and not path.startswith("/"):
        return canonical(address)
    place = canonical(path if named else address)
    if scheme(output) == "file":
        place = os.path.relpath(place, canonical(output))
    return f"{kind}://{place}" if named else place


def scheme(address: str | os.PathLike[str]) -> str:
    """What sort of storage an address is of, for people to see: ``s3`` of ``s3://bucket``, ``file`` of a local path.

    Args:
        address: a local path or a URI.
    """
    text = os.fspath(address)
    return text.partition("://")[0] if _is_uri(text) else "file"


def _is_uri(address: str) -> bool:
    return "://" in address
