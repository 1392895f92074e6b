"""How a file is read a second time: `SecondReader`, which each file of this folder makes once, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from json2vec.verify.second_readers.nearby import NearbyFile


@dataclass(frozen=True)
class Options:
    """How files are read where they do not say it themselves.

    Attributes:
        separator: of CSV, between cells.
        quote: of CSV, around a cell; None where no character is special.
        encoding: of CSV, as Python names it.
        null_values: of CSV, unquoted cells that are null.
        header: of CSV, whether the first record is none.
        column_names: of CSV, instead of those of the header.
    """

    separator: str = ","
    quote: str | None = '"'
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("",)
    header: bool = True
    column_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of one file.

    Attributes:
        values: by the row's number in the file, plain values (`json2vec.verify.same_value`) by column; a column that is
            missing is null.
        unread: columns that the second reader cannot read, with the reason.
        count: how many rows the file has, where that was found on the way.
    """

    values: Mapping[int, Mapping[str, Any]]
    unread: Mapping[str, str] = field(default_factory=dict)
    count: int | None = None


@dataclass(frozen=True)
class SecondReader:
    """How files of one suffix are read a second time.

    Attributes:
        name: of the library, for messages.
        count: (file, options) -> how many rows it has.
        rows: (file, ascending numbers of rows, options) -> those of them that the file has.
        places: how many places of the input its sample is spread over; few where a row is found by reading all that
            is before it.
    """

    name: str
    count: Callable[[NearbyFile, Options], int]
    rows: Callable[[NearbyFile, Sequence[int], Options], Rows]
    places: int


def spans(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as half-open ranges of consecutive ones: 3, 4, 9 is (3, 5), (9, 10)."""
    found: list[tuple[int, int]] = []
    for row in rows:
        if found and found[-1][1] == row:
            found[-1] = (found[-1][0], row + 1)
        else:
            found.append((row, row + 1))
    return found
