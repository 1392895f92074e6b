"""Where bytes lie: the `Store` protocol, local folders, object stores, and `open_store`, which picks one.

Importing this imports neither s3fs nor torch: `S3Store` is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING

from json2vec.storage.local import LocalStore, file_sha256
from json2vec.storage.lock import Lock, LockHeld, LockLost
from json2vec.storage.opening import absolute, fetch, open_store, relative, scheme
from json2vec.storage.store import Entry, Store, Usage, stored_sha256

if TYPE_CHECKING:
    from json2vec.storage.s3 import S3Store

__all__ = [
    "Entry",
    "LocalStore",
    "Lock",
    "LockHeld",
    "LockLost",
    "S3Store",
    "Store",
    "Usage",
    "absolute",
    "fetch",
    "file_sha256",
    "open_store",
    "relative",
    "scheme",
    "stored_sha256",
]


def __getattr__(name: str) -> object:
    if name == "S3Store":
        from json2vec.storage.s3 import S3Store

        return S3Store
    raise AttributeError(f"module 'json2vec.storage' has no attribute {name!r}")
