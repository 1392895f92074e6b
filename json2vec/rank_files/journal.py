"""A rank's journal of sealed segments, and the list of segments that an attempt adopted.

A killed rank leaves no marker. Its journal ``rank-N.segments.jsonl`` tells all the same which of its files are whole:
one `Segment` a line, written and synced to disk after the file itself. Attempt folders are local, so journals are too.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from json2vec.errors import IncompletePredictions
from json2vec.rank_files.manifest import Segment, journal_name, journal_rank, parse_document
from json2vec.stores import LocalStore, sync_folder

ADOPTED_NAME = "_adopted.json"


class Journal:
    """Appends to ``rank-N.segments.jsonl``; begins anew what an earlier process of the same rank and attempt left."""

    def __init__(self, folder: Path, rank: int) -> None:
        self.path = folder / journal_name(rank)
        self.path.unlink(missing_ok=True)

    def append(self, segment: Segment) -> None:
        """Write one line, durably. Raises OSError where the disk refuses."""
        with open(self.path, "ab") as file:
            file.write(segment.dumps() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path.parent)


def read_segments(folder: str | os.PathLike[str]) -> Iterator[Segment]:
    """Every segment that an attempt's ranks sealed or that it adopted, with paths relative to ``folder``.

    A line that is cut short or malformed ends its journal: the rank died while it wrote it.
    """
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    if ADOPTED_NAME in names:
        yield from read_adopted(folder)
    for name in names:
        if journal_rank(name) is not None:
            yield from _read_lines(Path(folder, name))


def _read_lines(path: Path) -> Iterator[Segment]:
    with contextlib.suppress(FileNotFoundError, IncompletePredictions), open(path, "rb") as file:
        for line in file:
            yield parse_document(Segment, line, str(path))


def write_adopted(folder: str | os.PathLike[str], segments: Iterable[Segment]) -> None:
    """Record, atomically, which segments of earlier attempts lie in ``folder`` under names of its own."""
    lines = b",\n".join(segment.dumps() for segment in segments)
    LocalStore(folder).write(ADOPTED_NAME, b'{"format":1,"segments":[\n' + lines + b"\n]}")


def read_adopted(folder: str | os.PathLike[str]) -> list[Segment]:
    """The segments that the attempt in ``folder`` adopted; none where it adopted nothing.

    Raises:
        IncompletePredictions: the list is malformed.
    """
    path = Path(folder, ADOPTED_NAME)
    try:
        value = json.loads(path.read_bytes())
        segments = value["segments"]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as exc:
        message = f"{path} is not a list of adopted segments: {exc!r}. Remedy: predict again"
        raise IncompletePredictions(message) from exc
    return [parse_document(Segment, json.dumps(one), str(path)) for one in segments]
