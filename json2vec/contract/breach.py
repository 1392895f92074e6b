"""One way in which new shards differ from what a model was trained on, and how much of it is tolerated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast, get_args

from json2vec.enums import Severity
from json2vec.errors import SchemaError

SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Breach:
    """One difference, as the producers of the shards have to know it.

    Attributes:
        kind: a word for what changed, such as ``missing`` or ``null_rate``.
        severity: ``error``: predictions would fail or mean nothing; ``warning``: they mean something, but the data is
            not what it was; ``info``: nothing changes for the model.
        where: the column, as a path: ``plane.seats``, ``legs[].carrier``.
        expected: what the training had.
        found: what these shards have.
        remedy: what to do about it.
        examples: up to three, with file and row where they are known.
        addresses: the leaves of the model that read the column.
    """

    kind: str
    severity: Severity
    where: str
    expected: str
    found: str
    remedy: str
    examples: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    def text(self) -> str:
        """The breach in several lines, in a form to forward."""
        leaves = f" ({', '.join(self.addresses[:3])}{', ...' if len(self.addresses) > 3 else ''})"
        lines = [
            f"{self.severity.upper()}  column {self.where}: {self.kind}{leaves if self.addresses else ''}",
            f"    expected  {self.expected}",
            f"    found     {self.found}",
        ]
        if self.examples:
            lines.append(f"    examples  {'; '.join(self.examples)}")
        return "\n".join([*lines, f"    remedy    {self.remedy}"])

    def row(self) -> dict[str, str]:
        """The breach as plain texts by column, for a table."""
        return {
            "severity": self.severity, "column": self.where, "kind": self.kind, "expected": self.expected,
            "found": self.found, "examples": "; ".join(self.examples), "remedy": self.remedy,
            "leaves": ", ".join(self.addresses),
        }  # fmt: skip


Pair = tuple[float, float]


@dataclass(frozen=True)
class Limits:
    """How far a rate may move: a pair (warning, error) of shares from 0 to 1 each.

    What counts is the rate of the whole training or that of its worst folder, whichever is higher: one bad day was
    natural then. A limit is exceeded where even the lower bound of what the sample allows (Wilson's, one in 10,000)
    lies that far above it, so that few rows prove nothing.

    Attributes:
        null_rate: nulls among the slots that a record has; many fewer nulls than in training warn as well.
        unknown_rate: labels that the vocabulary lacks, above the share that training led to expect.
        empty_rate: lists that are empty or missing.
        overflow_rate: lists longer than ``max_length``, whose items are cut off.
        outside_rate: numbers that lie out of the range that training saw, by more than half its width; an error only
            where they lie out by more than its width.
        psi: the population stability index of a leaf's values (`json2vec.profile.profile.drift`), for the check on
            input drift. The second number of the pair is not used.
        ignore: columns (as in ``Breach.where``) or addresses whose breaches are never more than ``info``.
    """

    null_rate: Pair = (0.05, 0.25)
    unknown_rate: Pair = (0.05, 0.25)
    empty_rate: Pair = (0.1, 0.5)
    overflow_rate: Pair = (0.05, 0.25)
    outside_rate: Pair = (0.02, 0.5)
    psi: Pair = (0.25, 1.0)
    ignore: tuple[str, ...] = field(default=())

    @staticmethod
    def of(values: Mapping[str, Any] | Limits | None) -> Limits:
        """Limits from plain values: a pair, or one number for both, by name.

        Raises:
            SchemaError: a name that is no limit, or a value that is no share.
        """
        if values is None or isinstance(values, Limits):
            return values or Limits()
        options: dict[str, Any] = {}
        names = [limit.name for limit in fields(Limits)]
        for name, value in values.items():
            if name not in names:
                near = difflib.get_close_matches(str(name), names, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected some of {names}"
                raise SchemaError(f"contract limits: no limit {name!r}; {hint}")
            options[name] = _names(value) if name == "ignore" else _pair(name, value)
        return Limits(**options)

    def tolerates(self, breach: Breach) -> bool:
        """Whether ``ignore`` names the breach's column, one above it, or all of its leaves."""
        where = breach.where
        column = any(where == ignored or where.startswith((f"{ignored}.", f"{ignored}[")) for ignored in self.ignore)
        return column or (bool(breach.addresses) and set(breach.addresses) <= set(self.ignore))


def _names(value: object) -> tuple[str, ...]:
    names = tuple(cast("Sequence[Any]", value)) if isinstance(value, Sequence) else ()
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(name, str) for name in names):
        raise SchemaError(f"contract limits: ignore must be a list of columns or addresses; got {value!r}")
    return names


def _pair(name: str, value: object) -> Pair:
    pair: tuple[Any, ...] = tuple(cast("Sequence[Any]", value)) if isinstance(value, (list, tuple)) else (value, value)
    numbers = len(pair) == 2 and all(isinstance(rate, (int, float)) and not isinstance(rate, bool) for rate in pair)
    most = float("inf") if name == "psi" else 1.0
    if not numbers or not 0 <= pair[0] <= pair[1] <= most:
        raise SchemaError(
            f"contract limits: {name} must be a pair of numbers, 0 <= warning <= error <= {most:g}, or one number for "
            f"both; got {value!r}"
        )
    return float(pair[0]), float(pair[1])
