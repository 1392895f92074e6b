"""Folders that belong to a table of Delta Lake, Apache Iceberg or Apache Hudi, which are no folders of files.

    orders/_delta_log/00000000000000000001.json    {"remove": {"path": "old.parquet"}} {"add": {"path": "new.parquet"}}
    orders/old.parquet                             still there, but no part of the table any more
    orders/new.parquet

Whoever reads every file of such a folder reads rows that were deleted, and rows twice that were updated: only the
table's log says which files it consists of. So such a folder is refused, unless ``lake_tables="files"`` says that it is
meant.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Literal

from json2vec.errors import ReadError, StoreError
from json2vec.storage.store import Entry, Store

LakeTables = Literal["refuse", "files"]
"""What happens where files lie in the folder of a table."""

_LOG = re.compile(r"(?:^|/)(?:(_delta_log|\.hoodie)/.|metadata/[^/]*(\.metadata\.json)$)")
_KINDS = {"_delta_log": "Delta", ".hoodie": "Hudi", ".metadata.json": "Iceberg"}
_LOOKED_AT = 1000  # files of a folder above that are looked at: what an object store lists in one request


class TableFolders:
    """Notes the folders of tables while files are listed, so that no second listing is needed.

    Attributes:
        found: the kind of each table, by its folder relative to the root of the listing; the root itself is empty.
    """

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def seen(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The same entries."""
        for entry in entries:
            mark = _LOG.search(entry.path)
            if mark is not None:
                self.found.setdefault(entry.path[: mark.start()], _KINDS[mark[1] or mark[2]])
            yield entry

    def holding(self, paths: Iterable[str]) -> tuple[str, str] | None:
        """Folder and kind of the first table that holds one of ``paths``; None where none does."""
        if not self.found:
            return None
        for path in paths:
            for folder, kind in self.found.items():
                if not folder or path.startswith(f"{folder}/"):
                    return folder, kind
        return None


def table_above(store: Store) -> tuple[str, str] | None:
    """Address and kind of a table in whose folder the root of ``store`` lies; None where there is none.

    Looks into the log's folder of each folder above, up to the top of the disk or of the bucket. A folder above that
    may not be looked into is passed over: whoever may only read a prefix cannot be asked for more.
    """
    above = store.above()
    while above is not None:
        for folder in ("_delta_log", ".hoodie", "metadata"):
            try:
                first = list(itertools.islice(above.list(folder), _LOOKED_AT if folder == "metadata" else 1))
            except StoreError:
                continue
            tables = TableFolders()
            if any(True for _ in tables.seen(first)) and "" in tables.found:
                return above.uri(), tables.found[""]
        above = above.above()
    return None


def refuse_tables(store: Store, tables: TableFolders, paths: Iterable[str]) -> None:
    """Refuse files that lie in the folder of a table.

    Args:
        store: where the files lie.
        tables: what the listing of ``store`` has met.
        paths: the files that are about to be read, relative to the root.

    Raises:
        ReadError: they belong to a table; names its folder, its kind and what to do.
    """
    inside = tables.holding(paths)
    found = table_above(store) if inside is None else (store.uri(inside[0]), inside[1])
    if found is None:
        return
    where, kind = found
    raise ReadError(
        f"{where} is the folder of {'an' if kind == 'Iceberg' else 'a'} {kind} table: some of its files may be no part "
        "of the table any more, so that rows which were deleted or replaced would be read as well. Remedy: "
        f"{_remedy(kind)}; or write the rows of the version that you mean into a folder of their own. To read every "
        "file that lies there all the same, say lake_tables='files'"
    )


def _remedy(kind: str) -> str:
    if kind == "Delta":
        return "in Python, freeze a version of it, predict=json2vec.snapshot_table(root, 'delta')"
    return f"read the {kind} table with its own library and hand the frame to PolarsDataModule"
