"""Which class serves the URIs of a scheme: a table of our own, and entry points of other packages.

A package adds a store by naming it in its pyproject.toml, the scheme first:

    [project.entry-points."json2vec.stores"]
    gs = "company.storage:GcsStore"

Once the package is installed, ``gs://bucket/prefix`` works wherever ``s3://bucket/prefix`` does.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from json2vec.errors import StoreError
from json2vec.storage.kinds import KindError, lacking, load_class
from json2vec.storage.store import Store

STORES = {"s3": "json2vec.storage.s3:S3Store"}
"""``module:Class`` by scheme. The class is imported when the first URI of its scheme is opened (s3fs takes a second)
and called with the URI and the storage options."""

STORES_GROUP = "json2vec.stores"
"""The group of the entry points."""


def open_scheme(scheme: str, uri: str, storage_options: dict[str, Any] | None = None) -> Store:
    """The store whose root is ``uri``.

    Args:
        scheme: what the URI begins with, such as ``s3``.
        uri: the whole URI, such as ``s3://bucket/prefix``.
        storage_options: options that the class is called with, as they are.

    Raises:
        StoreError: no class serves the scheme, several do, or the one that does cannot be used.
    """
    try:
        store = _class_of(scheme)(uri, storage_options)
    except KindError as exc:
        raise StoreError(f"no store serves {uri!r}: {exc}") from exc
    if scheme not in STORES and (missing := lacking(store, Store)):
        raise StoreError(
            f"{type(store).__module__}:{type(store).__qualname__} cannot serve {uri!r}: {'; '.join(missing)}. "
            f"Remedy: give it everything that {Store.__module__}.{Store.__name__} has"
        )
    return store


@cache
def _class_of(scheme: str) -> type:
    """The class that serves a scheme, from our table or another package's entry point.

    Raises:
        KindError: no class serves the scheme, several do, or the one that does cannot be imported.
    """
    if scheme in STORES:
        return load_class(STORES[scheme], f"the store of {scheme}://")
    registered = entry_points(group=STORES_GROUP)
    classes = sorted({entry.value for entry in registered if entry.name == scheme})
    if len(classes) == 1:
        return load_class(classes[0], f"the store of {scheme}://")
    if classes:
        raise KindError(f"several packages serve {scheme}://: {', '.join(classes)}. Remedy: uninstall all but one")
    served = ", ".join(f"{name}://" for name in ["file", *STORES, *sorted(registered.names)])
    raise KindError(
        f"the scheme is {scheme!r}; expected a local path or one of {served}. Remedy: check the spelling of the root, "
        f"or install a package with an entry point {scheme!r} in the group {STORES_GROUP!r}"
    )
