"""Two predictions of one row that name different things and are equally good: a tie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Content = dict[str, Any]
"""The ``content`` of one row as Python values. Below arrays every entry is a list with an item for each slot."""


@dataclass(frozen=True)
class Tie:
    """When parts of a field's ``content`` may differ although nothing is wrong.

    A category with probabilities 0.4999999 for "a" and 0.5 for "b" may name either label when it is predicted again.

    Attributes:
        parts: names of entries by which the ``content`` is recognised in a file; it may have others besides.
        free: those of them that may differ in a tie. All others are compared as usual first.
        tied: (stored content, content predicted again, tolerance) -> whether what differs is a tie. It is asked only
            for rows that differ in nothing but ``free``.
    """

    parts: frozenset[str]
    free: frozenset[str]
    tied: Callable[[Content, Content, float], bool]


def near(value: float | None, reference: float | None, tolerance: float) -> bool:
    """Whether two numbers are there and |one - other| <= tolerance + tolerance |other|."""
    return value is not None and reference is not None and abs(value - reference) <= tolerance * (1 + abs(reference))
