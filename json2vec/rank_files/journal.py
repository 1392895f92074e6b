"""A rank's journal of sealed segments, and the list of segments that an attempt adopted.

A killed rank leaves no marker. Its journal ``rank-N.segments.jsonl`` tells all the same which of its files are whole:
one `Segment` a line, written and made durable after the file itself.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator

from json2vec.errors import IncompletePredictions
from json2vec.rank_files.manifest import Segment, journal_name, journal_rank, parse_document
from json2vec.storage.store import Store

ADOPTED_NAME = "_adopted.json"


class Journal:
    """Appends to ``rank-N.segments.jsonl``; begins anew what an earlier process of the same rank and attempt left.

    Args:
        store: the store whose root is the attempt's folder.
        rank: the rank whose journal it is; whoever makes it holds the rank's lock, so that no other process writes to
            it.
    """

    def __init__(self, store: Store, rank: int) -> None:
        self._store, self._name = store, journal_name(rank)
        self._store.delete(self._name)

    @property
    def uri(self) -> str:
        return self._store.uri(self._name)

    def append(self, segment: Segment) -> None:
        """Write one line, durably.

        Raises:
            OSError: the disk refuses.
            StoreError: the store refuses.
        """
        self._store.append(self._name, segment.dumps() + b"\n")


def read_segments(store: Store) -> Iterator[Segment]:
    """Every segment that an attempt's ranks sealed or that it adopted, with paths relative to the attempt's folder.

    A line that is cut short or malformed ends its journal: the rank died while it wrote it.

    Raises:
        StoreError: the folder is there and cannot be listed, which is not the same as an attempt without segments.
    """
    if not store.exists():
        return
    names = [entry.path for entry in store.list() if "/" not in entry.path]
    if ADOPTED_NAME in names:
        yield from read_adopted(store)
    for name in names:
        if journal_rank(name) is not None:
            yield from _read_lines(store, name)


def _read_lines(store: Store, name: str) -> Iterator[Segment]:
    with contextlib.suppress(FileNotFoundError, IncompletePredictions):
        for line in store.read(name).splitlines():
            yield parse_document(Segment, line, store.uri(name))


def write_adopted(store: Store, segments: Iterable[Segment]) -> None:
    """Record, atomically, which segments of earlier attempts lie in an attempt's folder under names of its own."""
    lines = b",\n".join(segment.dumps() for segment in segments)
    store.write(ADOPTED_NAME, b'{"format":1,"segments":[\n' + lines + b"\n]}")


def read_adopted(store: Store) -> list[Segment]:
    """The segments that the attempt in this folder adopted; none where it adopted nothing.

    Raises:
        IncompletePredictions: the list is malformed.
    """
    where = store.uri(ADOPTED_NAME)
    try:
        value = json.loads(store.read(ADOPTED_NAME))
        texts = [json.dumps(segment) for segment in value["segments"]]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        message = f"{where} is not a list of adopted segments: {exc!r}. Remedy: predict again"
        raise IncompletePredictions(message) from exc
    return [parse_document(Segment, text, where) for text in texts]
