"""Where the records of a CSV text end, found in columns of bytes: a line break inside quotes ends none.

A quote opens a cell only where the cell begins; elsewhere in an unquoted cell it is a character. What closes a cell is
followed by a separator or a line break. Where it is not, some quote is missing, and nobody can say which line breaks
end a row: that is an error of the file. CR, LF and CRLF end a record. Empty lines are none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from json2vec.errors import ReadError
from json2vec.reading.formats.blocks import TextRows, longest_row

_LF, _CR = ord("\n"), ord("\r")
_START, _PLAIN, _QUOTED, _CLOSED = range(4)  # at a cell's beginning, in an unquoted one, in a quoted one, behind one
_REMEDY = (
    "Remedy: write quotes inside a cell twice and close every cell, or say csv={'quote': None} where quotes are "
    "characters like others"
)


class Records(TextRows):
    """Whole records."""

    def slice(self, a: int, b: int) -> Records:
        """The records a..b-1."""
        return Records(self.data, self.starts[a:b], self.stops[a:b])


def records(
    blocks: Iterator[bytes], where: str, separator: int, quote: int | None, *, header: bool
) -> Iterator[Records]:
    """Cut blocks of text, of any sizes, into blocks of whole records.

    Args:
        blocks: the text; none is empty.
        where: the file's address, for messages.
        separator: code of the character between cells.
        quote: code of the quoting character; None where there is none.
        header: whether the first record is a header, which is no row.

    Raises:
        ReadError: quotes that do not fit, or a record longer than a row may be; names the row in which it begins.
    """
    parts: list[bytes] = []
    state, done, held = _START, -int(header), 0

    def row(number: int) -> str:
        return f"row {number}" if number >= 0 else "the header"

    for block in blocks:
        codes = np.frombuffer(block, np.uint8)
        toggles, wrong = _toggles(codes, separator, quote, state)
        ends = _ends(codes, toggles, state)
        if wrong is not None:
            before = ends[ends < wrong]
            begins = np.concatenate([np.zeros(1, np.int64), before[:-1] + 1])[: len(before)]
            full = int((before > begins).sum()) + int(bool(held) and len(before) > 0 and before[0] == 0)
            excerpt = b"".join(parts)[-40:] + block[max(0, wrong - 40) : wrong + 20]
            raise ReadError(
                f"{where}: {row(done + full)}: a quoted cell is closed, but neither a separator nor a line break "
                f"follows: ...{excerpt[-60:].decode('utf-8', 'replace')!r}... Either a quote is missing in this row, "
                f"or one is not doubled. {_REMEDY}"
            )
        state = _state(codes, toggles, state, separator)
        if not len(ends):
            parts.append(block)
            held += len(block)
            hint = "end each record with a line break" if state != _QUOTED else "close the cell whose quote is open"
            longest_row(where, row(done), held, hint)
            continue
        cut = int(ends[-1]) + 1
        made = _records(b"".join([*parts, block[:cut]]), ends + held)
        done += len(made)
        yield made
        parts, held = ([block[cut:]], len(block) - cut) if cut < len(block) else ([], 0)
    if state == _QUOTED:
        raise ReadError(
            f"{where}: {row(done)} begins a cell with a quote that is never closed: "
            f"{b''.join(parts)[:60].decode('utf-8', 'replace')!r}. All that follows would be one cell. {_REMEDY}"
        )
    if parts:
        data = b"".join(parts)
        yield _records(data, np.array([len(data)], np.int64))


def _records(data: bytes, ends: np.ndarray) -> Records:
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    kept = ends > starts
    return Records(data, starts[kept], ends[kept])


def cells(some: Records, separator: int, quote: int | None) -> np.ndarray:
    """int64 (n,): how many cells each record has."""
    codes = np.frombuffer(some.data, np.uint8)
    found = np.flatnonzero(codes == separator)
    toggles, _ = _toggles(codes, separator, quote, _START)
    found = found[np.searchsorted(toggles, found) % 2 == 0] if len(toggles) else found
    return np.searchsorted(found, some.stops) - np.searchsorted(found, some.starts) + 1


def _toggles(codes: np.ndarray, separator: int, quote: int | None, state: int) -> tuple[np.ndarray, int | None]:
    """int64: the quotes that open or close, in turn; and the first place where a cell is closed wrongly."""
    found = np.flatnonzero(codes == quote) if quote is not None else np.zeros(0, np.int64)
    if state == _CLOSED and len(codes) and codes[0] not in (separator, quote, _LF, _CR):
        return found, 0
    if not len(found):
        return found, None
    inside = int(state == _QUOTED)
    before = codes[found - 1]
    if found[0] == 0:
        before[0] = {_START: _LF, _CLOSED: quote}.get(state, 0)
    begins = (before == separator) | (before == _LF) | (before == _CR) | (before == quote)
    opening = (np.arange(len(found)) + inside) % 2 == 0
    if not (begins | ~opening).all():
        found = _one_by_one(found, begins, before == quote, inside)
        opening = (np.arange(len(found)) + inside) % 2 == 0
    closing = found[~opening]
    after = codes[np.minimum(closing + 1, len(codes) - 1)]
    ends = (after == separator) | (after == quote) | (after == _LF) | (after == _CR) | (closing == len(codes) - 1)
    wrong = closing[~ends]
    return found, int(wrong[0]) + 1 if len(wrong) else None


def _one_by_one(found: np.ndarray, begins: np.ndarray, doubled: np.ndarray, inside: int) -> np.ndarray:
    """``found`` without the quotes that are characters of an unquoted cell."""
    kept, last = [], -2
    for at, can_open, behind in zip(found.tolist(), begins.tolist(), doubled.tolist(), strict=True):
        if inside:
            inside, last = 0, at
        elif can_open and (not behind or last == at - 1 or at == 0):
            inside = 1
        else:
            continue
        kept.append(at)
    return np.array(kept, np.int64)


def _ends(codes: np.ndarray, toggles: np.ndarray, state: int) -> np.ndarray:
    """int64: the line breaks that are outside of quotes."""
    found = np.flatnonzero((codes == _LF) | (codes == _CR))
    if not len(toggles):
        return found[:0] if state == _QUOTED else found
    return found[(np.searchsorted(toggles, found) + int(state == _QUOTED)) % 2 == 0]


def _state(codes: np.ndarray, toggles: np.ndarray, state: int, separator: int) -> int:
    if (len(toggles) + int(state == _QUOTED)) % 2:
        return _QUOTED
    if len(toggles) and toggles[-1] == len(codes) - 1:
        return _CLOSED
    return _START if codes[-1] in (separator, _LF, _CR) else _PLAIN
