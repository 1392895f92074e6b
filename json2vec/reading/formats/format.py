"""How files of one kind are read: `Format`, which each file of this folder makes once, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Literal

import pyarrow as pa

from json2vec.errors import ReadError
from json2vec.reading.formats.piece import Piece

Counted = tuple[int, "pa.Schema | None"]


@dataclass(frozen=True)
class Format:
    """How files of one suffix are read.

    Attributes:
        name: for messages.
        count: (file, address, infer) -> rows and schema; the schema is None where ``infer`` is false and finding it
            would cost more than counting.
        read: (file, address, start, stop, schema) -> pieces of exactly the rows start..stop-1, in order, in the
            file's own types; ``schema`` is what they will be cast to, for formats that can parse straight to it.
        endings: of the files that belong to the format when no pattern is given.
        types: where a column's type comes from: the file declares it; it is inferred from values that have types of
            their own, as in JSON; or it is inferred from texts.
        a_row: what a row has to be, for messages about one that is not.
    """

    name: str
    count: Callable[[IO[bytes], str, bool], Counted]
    read: Callable[[IO[bytes], str, int, int, pa.Schema], Iterator[Piece]]
    endings: tuple[str, ...] = field(default=())
    types: Literal["declared", "inferred", "texts"] = "declared"
    a_row: str = "a row that fits the schema"


def agree(where: str, what: str, expected: int, found: int) -> None:
    """Raise unless two places of a file that tell its rows say the same: one of them would lose rows."""
    if expected != found:
        raise ReadError(
            f"{where}: {what}: expected {expected} rows, found {found}. The file contradicts itself, so that nobody "
            "can say which rows it holds. Remedy: write it again, or leave it out with match= or paths="
        )


def between(batches: Any, at: int, start: int, stop: int) -> Iterator[Piece]:
    """The rows start..stop-1 of consecutive batches, the first of which begins with row ``at``."""
    for batch in batches:
        begin, end = max(start, at), min(stop, at + batch.num_rows)
        if begin < end:
            yield Piece.of(batch.slice(begin - at, end - begin), begin)
        at += batch.num_rows
        if at >= stop:
            return
