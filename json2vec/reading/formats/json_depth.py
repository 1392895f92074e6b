"""Which lines of JSON nest too deep, known before a parser is called, which would crash the process on some of them.

Nearly all lines are cleared by a count: a line with at most 48 opening brackets nests at most 48 deep. Of the others
nothing is kept but what matters: ``{"a": [1, {"b": "[[["}]}`` becomes ``{[{"[[["}]}``, in which the brackets between
quotes do not count.
"""

from __future__ import annotations

import numpy as np

_QUOTE, _NEWLINE, _OPENS, _CLOSES = ord('"'), ord("\n"), ord("{"), ord("}")
_BRACKET = 0x20  # the one bit in which [ and ] differ from { and }
_REST = bytes(sorted(set(range(256)) - set(b'"[]{}\n')))


def deep_lines(block: bytes, starts: np.ndarray, stops: np.ndarray, most: int) -> np.ndarray:
    """bool (lines,): whether a line opens more than ``most`` lists and objects without closing them again.

    A line that is no JSON may be called deep where a parser would have stopped before it came so far.

    Args:
        block: the bytes of the lines.
        starts, stops: int64 (lines,), where each begins and ends, ascending, without its line break.
        most: brackets that may be open at a time.
    """
    deep = np.zeros(len(starts), bool)
    openers = np.flatnonzero((np.frombuffer(block, np.uint8) | _BRACKET) == _OPENS)
    # Of every so many brackets one is looked up: two of these lie in each line that has more than ``most``.
    line = np.searchsorted(starts, openers[:: (most + 1) // 2], side="right") - 1
    suspects = np.unique(line[:-1][line[1:] == line[:-1]])
    suspects = suspects[suspects >= 0]
    if len(suspects):
        bounds = zip(starts[suspects].tolist(), stops[suspects].tolist(), strict=True)
        deep[suspects] = _depths(b"\n".join([*(block[start:stop] for start, stop in bounds), b""])) > most
    return deep


def _depths(text: bytes) -> np.ndarray:
    """int64 (lines,): how deep each line of ``text`` nests, each of which ends with a line break."""
    if b"\\" in text:
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    codes = np.frombuffer(text.translate(None, _REST).replace(b'""', b""), np.uint8)
    ends = np.flatnonzero(codes == _NEWLINE)
    begins = np.concatenate([[0], ends[:-1] + 1])
    kinds = codes | _BRACKET
    steps = (kinds == _OPENS).view(np.int8) - (kinds == _CLOSES).view(np.int8)
    quotes = codes == _QUOTE
    if quotes.any():
        inside = np.logical_xor.accumulate(quotes)
        odd = np.concatenate([[False], inside[ends[:-1]]])  # a text without an end ends with its line
        steps[inside ^ np.repeat(odd, ends - begins + 1)] = 0
    depths = np.cumsum(steps, dtype=np.int64)
    return np.maximum.reduceat(depths, begins) - np.concatenate([[0], depths[ends[:-1]]])
