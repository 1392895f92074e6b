"""Queries: where in a record a leaf finds its values.

A query is written against one observation, a list holding one record: ``[*].amount``, ``[*].items[*].price``,
``[*]."odd key".x``. Queries made only of ``[*]`` and keys take the columnar path; any other JMESPath expression runs
through the jmespath library, row by row.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

import jmespath
import jmespath.exceptions

from json2vec.errors import SchemaError

EACH = None
"""The step that goes into every item of a list."""

_STEP = re.compile(r'\[\*\]|\.?([A-Za-z_][A-Za-z0-9_]*)|\.?("(?:[^"\\]|\\.)*")')
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class Query:
    """A parsed query.

    Attributes:
        text: as the user or the schema wrote it.
        steps: keys, and `EACH` for every ``[*]`` after the first one; None where the columnar path cannot take it.
    """

    text: str
    steps: tuple[str | None, ...] | None

    @property
    def depth(self) -> int:
        """How many lists below the record the query goes through."""
        return sum(step is EACH for step in self.steps or ())


def default_query(names: Iterable[str]) -> Query:
    """The query of a leaf reached by ``names``: the arrays above it, then its own name."""
    *arrays, leaf = names
    steps = [step for name in arrays for step in (name, EACH)] + [leaf]
    return Query(query_text(steps), tuple(steps))


def query_text(steps: Iterable[str | None]) -> str:
    """Steps below the record as an expression; keys that are no identifiers are quoted."""
    keys = [
        "[*]" if step is EACH else f".{step if _PLAIN_KEY.match(step or '') else json.dumps(step)}" for step in steps
    ]
    return "[*]" + "".join(keys)


def parse_query(text: str, *, arrays_above: int, where: str) -> Query:
    """Parse a leaf's ``query`` option.

    Args:
        text: the expression, beginning with ``[*]``.
        arrays_above: how many arrays the leaf lies in, not counting the root.
        where: the leaf's address, for messages.

    Raises:
        SchemaError: not JMESPath, not beginning with ``[*]``, or going through more or fewer lists than the leaf has
            arrays above it.
    """
    if not text.startswith("[*]"):
        raise SchemaError(
            f"{where}: query {text!r} must begin with '[*]', which stands for the record itself. "
            f"Remedy: write '[*].{text.lstrip('.[')}'"
        )
    try:
        jmespath.compile(text)
    except jmespath.exceptions.JMESPathError as exc:
        raise SchemaError(f"{where}: query {text!r} is no JMESPath expression: {exc}") from exc
    steps = _columnar_steps(text)
    query = Query(text, steps)
    if steps is not None and query.depth != arrays_above:
        raise SchemaError(
            f"{where}: query {text!r} goes through {query.depth} lists below the record; expected {arrays_above}, "
            f"one for each array above the leaf. Remedy: write out every '[*]', or move the leaf to another array"
        )
    return query


def _columnar_steps(text: str) -> tuple[str | None, ...] | None:
    steps: list[str | None] = []
    end = len("[*]")
    while end < len(text):
        match = _STEP.match(text, end)
        if match is None or (match[0] != "[*]" and not match[0].startswith(".")):
            return None
        steps.append(EACH if match[0] == "[*]" else match[1] or json.loads(match[2]))
        end = match.end()
    # Two projections in a row flatten lists of lists; that is jmespath's business.
    if not steps or steps[-1] is EACH or any(a is EACH and b is EACH for a, b in itertools.pairwise(steps)):
        return None
    return tuple(steps) if steps[0] is not EACH else None
