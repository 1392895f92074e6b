"""What a model was trained on, in a few kilobytes: `Profile`, kept in its checkpoint.

The contract before launch (`json2vec.contract`) and the check on input drift compare new shards with it. Plain values
only, so that it lies in a checkpoint that runs nothing; `json2vec.profile.profiler` collects it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from json2vec.errors import CheckpointError
from json2vec.reading.formats import declares_types

FORMAT = 1
TOP_LABELS = 32
"""Labels of a field whose counts are kept; the others are counted together."""
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)

Label = str | int | float | bool


@dataclass(frozen=True)
class Labels:
    """The labels of a leaf with a vocabulary; a Set has several in a slot.

    Attributes:
        count: labels in all slots.
        unknown: how many of these labels are not in the vocabulary.
        once: different known labels that occurred exactly once.
        distinct: different known labels that occurred.
        full: the vocabulary has no room for more.
        top: the most frequent known labels with their counts, the most frequent first.
        strange: the most frequent unknown labels likewise; collected when compared with another profile only.
    """

    count: int = 0
    unknown: int = 0
    once: int = 0
    distinct: int = 0
    full: bool = False
    top: tuple[tuple[Label, int], ...] = ()
    strange: tuple[tuple[Label, int], ...] = ()

    @property
    def unknown_rate(self) -> float:
        return self.unknown / self.count if self.count else 0.0

    @property
    def expected_unknown_rate(self) -> float:
        """The share of unknown labels to expect of further data alike: those unknown here, and the chance that the next
        label was never seen, which is the share of labels seen once (Good 1953)."""
        return min(1.0, (self.unknown + self.once) / self.count) if self.count else 0.0


@dataclass(frozen=True)
class Numbers:
    """The finite numbers that a field type measures of its values: a Number's value, the L2 norm of a Vector.

    Attributes:
        count: how many finite values there are.
        infinite: how many values are not finite.
        mean: the mean of the finite values; 0 where there is none.
        std: the standard deviation of the finite values; 0 where there is none.
        min: the smallest finite value; 0 where there is none.
        max: the largest finite value; 0 where there is none.
        quantiles: at `QUANTILES`, of an even sample of the values.
        edges: ascending inner bounds of bins, about the deciles; a bin holds its upper bound.
        bins: values in each of the len(edges) + 1 bins, of those sampled.
        outside: values that lie out of the range of the profile that this one was compared with, by more than half its
            width.
        far: values that lie out of it by more than its width, and the infinite ones.
    """

    count: int
    infinite: int
    mean: float
    std: float
    min: float
    max: float
    quantiles: tuple[float, ...]
    edges: tuple[float, ...]
    bins: tuple[int, ...]
    outside: int = 0
    far: int = 0

    @property
    def median(self) -> float:
        return self.quantiles[QUANTILES.index(0.5)]


@dataclass(frozen=True)
class Apart:
    """How far the folders of the training lay apart, each compared with all rows: what is natural for a partition.

    Weather is much the same for all rows of a day, and no day is like the year.

    Attributes:
        folders: how many folders have enough values to tell.
        psi: the largest population stability index of a single folder, less what chance adds.
        null_rate: the highest share of nulls in a single folder, from 0 to 1.
        constant: how many folders had the same value throughout.
    """

    folders: int = 0
    psi: float = 0.0
    null_rate: float = 0.0
    constant: int = 0


@dataclass(frozen=True)
class LeafProfile:
    """The slots of one leaf.

    Attributes:
        type: name of the field type.
        valued: slots that hold a value.
        null: slots where a record has null, or nothing.
        padded: slots past the end of a list.
        masked: slots that a record hides.
        labels: counts of the labels, where the field type has a vocabulary; else None.
        numbers: what was measured of the values, where the field type measures them and there is one; else None.
        apart: how much of this differs from folder to folder.
    """

    type: str
    valued: int = 0
    null: int = 0
    padded: int = 0
    masked: int = 0
    labels: Labels | None = None
    numbers: Numbers | None = None
    apart: Apart = Apart()

    @property
    def occupied(self) -> int:
        """Slots that a record has: all but the padded ones."""
        return self.valued + self.null + self.masked

    @property
    def null_rate(self) -> float:
        return self.null / self.occupied if self.occupied else 0.0


@dataclass(frozen=True)
class Lengths:
    """The lists of one array of the schema.

    Attributes:
        lists: lists that there were, missing ones included.
        empty: lists that are empty or missing.
        overflow: lists that are longer than ``max_length``.
        items: items of all lists.
        longest: items of the longest list.
        most_empty: the highest rate of empty lists of one folder.
        most_overflow: the highest rate of lists that overflow of one folder.
    """

    lists: int = 0
    empty: int = 0
    overflow: int = 0
    items: int = 0
    longest: int = 0
    most_empty: float = 0.0
    most_overflow: float = 0.0

    @property
    def empty_rate(self) -> float:
        return self.empty / self.lists if self.lists else 0.0

    @property
    def overflow_rate(self) -> float:
        return self.overflow / self.lists if self.lists else 0.0


@dataclass(frozen=True)
class Profile:
    """Rows as a model saw them.

    Attributes:
        rows: how many rows were looked at.
        schema: the schema of the shards as they were read, before any preprocessor.
        suffix: the format of the shards. ``csv``, ``json`` and ``ndjson`` have no types, so that theirs were inferred.
        preprocessed: whether a preprocessor made what the leaves and arrays below describe.
        leaves: the slots of each leaf that is read in prediction, by address.
        arrays: the lists of each array above these leaves, by address, without the root.
    """

    rows: int
    schema: pa.Schema
    suffix: str = "parquet"
    preprocessed: bool = False
    leaves: Mapping[str, LeafProfile] = field(default_factory=dict)
    arrays: Mapping[str, Lengths] = field(default_factory=dict)

    @property
    def inferred(self) -> bool:
        """Whether the types are what the values of these rows suggested, rather than what their producer declared."""
        return not declares_types(self.suffix)

    def to_plain(self) -> dict[str, Any]:
        """Dicts, lists, text, numbers and None; the schema as base64 of its IPC bytes."""
        return {
            "format": FORMAT,
            "rows": self.rows,
            "schema": base64.b64encode(self.schema.remove_metadata().serialize().to_pybytes()).decode(),
            "suffix": str(self.suffix),
            "preprocessed": self.preprocessed,
            "leaves": {str(address): _plain(asdict(leaf)) for address, leaf in self.leaves.items()},
            "arrays": {str(address): asdict(lengths) for address, lengths in self.arrays.items()},
        }

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> Profile:
        """The inverse of `to_plain`.

        Raises:
            CheckpointError: another format, or values that no profile has.
        """
        if values.get("format") != FORMAT:
            written_format = values.get("format")
            raise CheckpointError(f"the training profile has format {written_format!r}; this version reads {FORMAT}")
        try:
            return Profile(
                rows=values["rows"],
                schema=pa.ipc.read_schema(pa.py_buffer(base64.b64decode(values["schema"]))),
                suffix=values["suffix"],
                preprocessed=values["preprocessed"],
                leaves={address: _leaf(leaf) for address, leaf in values["leaves"].items()},
                arrays={address: Lengths(**lengths) for address, lengths in values["arrays"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException, OSError) as exc:
            raise CheckpointError(
                f"the training profile cannot be read ({type(exc).__name__}: {exc}). Remedy: learn it again with "
                "`j2v-dagster profile`"
            ) from exc


def profile_of(checkpoint: Mapping[str, Any]) -> Profile | None:
    """The profile in the values of a checkpoint; None where it holds none."""
    values = checkpoint.get("profile")
    return None if values is None else Profile.from_plain(values)


def _leaf(values: Mapping[str, Any]) -> LeafProfile:
    labels, numbers = values["labels"], values["numbers"]
    if labels is not None:
        pairs = {name: tuple((label, count) for label, count in labels[name]) for name in ("top", "strange")}
        labels = Labels(**{**labels, **pairs})
    if numbers is not None:
        numbers = Numbers(**{**numbers, **{name: tuple(numbers[name]) for name in ("quantiles", "edges", "bins")}})
    return LeafProfile(**{**values, "labels": labels, "numbers": numbers, "apart": Apart(**values["apart"])})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class Drift:
    """How far one leaf's values moved.

    Attributes:
        psi: population stability index over the bins, or over the frequent labels, the other known ones and the
            unknown ones; None where the type has neither.
        noise: what the index would reach, in 1 of 1,000 samples of this size, if nothing had moved.
        natural: what it reached in the training, for the folder that was the least like all of them.
    """

    psi: float | None
    noise: float = 0.0
    natural: float = 0.0

    def exceeds(self, limit: float) -> bool:
        """Whether the index is more than ``limit`` above all that chance and the training allow."""
        return self.psi is not None and self.psi > limit + self.noise + self.natural


def drift(expected: LeafProfile, sampled: LeafProfile, rows: int) -> Drift:
    """Compare the values of a leaf.

    Args:
        expected: the leaf in the training.
        sampled: the leaf in new rows, counted in the bins and labels of ``expected`` (`Profiler` with ``reference=``).
        rows: how many rows ``sampled`` was counted in; slots of one row tell no more than one row.
    """
    if expected.numbers and sampled.numbers and expected.numbers.edges == sampled.numbers.edges:
        moved = _psi(list(expected.numbers.bins), list(sampled.numbers.bins), rows)
        return replace(moved, natural=expected.apart.psi)
    if expected.labels and sampled.labels and expected.labels.count and sampled.labels.count:
        counts = dict(_keyed(sampled.labels.top))
        top = _keyed(expected.labels.top)
        moved = _psi(
            _with_rest([count for _, count in top], expected.labels),
            _with_rest([counts.get(key, 0) for key, _ in top], sampled.labels),
            rows,
        )
        return replace(moved, natural=expected.apart.psi)
    return Drift(None)


def _keyed(pairs: tuple[tuple[Label, int], ...]) -> list[tuple[tuple[bool, Label], int]]:
    return [((isinstance(label, str), label), count) for label, count in pairs]


def _with_rest(counts: list[int], labels: Labels) -> list[int]:
    """The counts of the frequent labels, of the other known ones and of the unknown ones."""
    return [*counts, labels.count - labels.unknown - sum(counts), labels.unknown]


def stability_index(expected: Sequence[int], sampled: Sequence[int]) -> tuple[float, int]:
    """The population stability index of two histograms, and how many bins it is of."""
    # A bin that both sides leave empty says nothing; half a count in each of the others keeps the logarithms finite.
    pairs = [(a, b) for a, b in zip(expected, sampled, strict=True) if a or b]
    bins, n, m = len(pairs), sum(a for a, _ in pairs), sum(b for _, b in pairs)
    shares = [((a + 0.5) / (n + bins / 2), (b + 0.5) / (m + bins / 2)) for a, b in pairs]
    return sum((q - p) * math.log(q / p) for p, q in shares), bins


def _psi(expected: list[int], sampled: list[int], rows: int) -> Drift:
    psi, bins = stability_index(expected, sampled)
    if bins < 2:
        return Drift(0.0)
    n, m = sum(expected), sum(sampled)
    # Without drift the index is about chi-squared with bins - 1 degrees of freedom, over the sample sizes; its 0.999
    # quantile by Wilson and Hilferty (1931).
    degrees = bins - 1
    quantile = degrees * (1 - 2 / (9 * degrees) + 3.09 * math.sqrt(2 / (9 * degrees))) ** 3
    return Drift(psi, quantile * (1 / max(1, min(m, rows)) + 1 / n if n else math.inf))
