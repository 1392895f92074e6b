"""How deep values may nest: `MAX_DEPTH`, one number for every format, for schemas and for Python records.

``[[1]]`` is 2 deep, and so is ``{"a": [1]}``. Beyond some depth no reader gives the values back: Arrow writes Parquet
of 50 lists that it cannot open again, Arrow IPC ends at 64 levels, and parsers that call themselves for each level
crash the process at some ten thousand. So the depth is known before a parser is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

MAX_DEPTH = 48
"""Lists, objects and maps that a value of a row may lie in, one inside the other; the row itself does not count."""

_CONTAINERS = (dict, list, tuple)


def too_deep(values: Iterable[Any], most: int = MAX_DEPTH) -> bool:
    """Whether one of the Python ``values`` nests dicts, lists and tuples deeper than ``most``.

    Looks at one level at a time, so that neither depth nor a list that holds itself is a danger.
    """
    level = [value for value in values if isinstance(value, _CONTAINERS)]
    for _ in range(most):
        if not level:
            return False
        inner = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, _CONTAINERS)
        ]
        level = list({id(item): item for item in inner}.values()) if len(inner) > len(level) else inner
    return bool(level)


def first_too_deep(records: Sequence[Any], most: int = MAX_DEPTH) -> int | None:
    """The index of the first record with a value deeper than ``most``; None where there is none."""
    if not too_deep(records, most + 1):  # all at once: most records need no look of their own
        return None
    return next(index for index, record in enumerate(records) if too_deep([record], most + 1))


def depth_message(most: int = MAX_DEPTH) -> str:
    """What to say of a value that is too deep."""
    return f"it nests lists and objects more than {most} deep; expected at most {most}, which readers can give back"
