"""A rank's journal of sealed segments, and the list of segments that an attempt adopted.

A killed rank leaves no marker. Its journal ``rank-N.segments.jsonl`` tells all the same which of its files are whole:
one `Segment` a line, written and made durable after the file itself.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator

from json2vec.errors import IncompletePredictions, StoreError
from json2vec.rank_files.manifest import Segment, journal_name, journal_rank, parse_document
from json2vec.storage.local import sync_folder
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store

ADOPTED_NAME = "_adopted.json"


class Journal:
    """Appends to ``rank-N.segments.jsonl``; begins anew what an earlier process of the same rank and attempt left.

    Object stores cannot append: there the whole journal, a few hundred bytes a segment, is written again each time.
    """

    def __init__(self, folder: str | os.PathLike[str] | Store, rank: int) -> None:
        self._store, self._name = open_store(folder), journal_name(rank)
        self._lines = b""
        self.path = self._store.local_path(self._name)
        self._store.delete(self._name)

    @property
    def uri(self) -> str:
        return self._store.uri(self._name)

    def append(self, segment: Segment) -> None:
        """Write one line, durably. Raises OSError or `StoreError` where the disk or the store refuses."""
        line = segment.dumps() + b"\n"
        if self.path is None:
            self._lines += line
            self._store.write(self._name, self._lines)
            return
        with open(self.path, "ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path.parent)


def read_segments(folder: str | os.PathLike[str] | Store) -> Iterator[Segment]:
    """Every segment that an attempt's ranks sealed or that it adopted, with paths relative to ``folder``.

    A line that is cut short or malformed ends its journal: the rank died while it wrote it.
    """
    store = open_store(folder)
    try:
        names = [entry.path for entry in store.list() if "/" not in entry.path]
    except StoreError:
        if store.local_path() is None:
            raise  # a bucket that cannot be listed is no attempt without segments
        return
    if ADOPTED_NAME in names:
        yield from read_adopted(store)
    for name in names:
        if journal_rank(name) is not None:
            yield from _read_lines(store, name)


def _read_lines(store: Store, name: str) -> Iterator[Segment]:
    with contextlib.suppress(FileNotFoundError, IncompletePredictions):
        for line in store.read(name).splitlines():
            yield parse_document(Segment, line, store.uri(name))


def write_adopted(folder: str | os.PathLike[str] | Store, segments: Iterable[Segment]) -> None:
    """Record, atomically, which segments of earlier attempts lie in ``folder`` under names of its own."""
    lines = b",\n".join(segment.dumps() for segment in segments)
    open_store(folder).write(ADOPTED_NAME, b'{"format":1,"segments":[\n' + lines + b"\n]}")


def read_adopted(folder: str | os.PathLike[str] | Store) -> list[Segment]:
    """The segments that the attempt in ``folder`` adopted; none where it adopted nothing.

    Raises:
        IncompletePredictions: the list is malformed.
    """
    store = open_store(folder)
    where = store.uri(ADOPTED_NAME)
    try:
        value = json.loads(store.read(ADOPTED_NAME))
        segments = value["segments"]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as exc:
        message = f"{where} is not a list of adopted segments: {exc!r}. Remedy: predict again"
        raise IncompletePredictions(message) from exc
    return [parse_document(Segment, json.dumps(one), where) for one in segments]
