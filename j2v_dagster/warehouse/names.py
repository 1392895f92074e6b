"""Names of tables, columns and partitions, which may be any text: those that are none, and folders for the others."""

from __future__ import annotations

import re
from hashlib import sha256

from j2v_dagster.warehouse.base import WarehouseError


def check_name(name: str) -> str:
    """``name`` itself, if it can name a table or a column.

    Raises:
        WarehouseError: it is empty or holds a NUL character.
    """
    if not name or "\0" in name:
        raise WarehouseError(f"{name!r} cannot name a table or column: it is empty or holds a NUL character")
    return name


def plain_name(name: str) -> str:
    """A folder's name for a table or partition, whatever it is called: one that is not plain gets a digest."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:80]
    return plain if name and plain == name else f"{plain}-{sha256(name.encode()).hexdigest()[:12]}"
