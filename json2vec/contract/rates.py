"""A sample of new rows against the training: nulls, unknown labels, lengths of lists, ranges and units of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from json2vec.contract.breach import Breach, Limits, Pair, Severity
from json2vec.profile.missing import SURE
from json2vec.profile.profile import Label, Labels, LeafProfile, Lengths, Numbers, Profile
from json2vec.reading.paths import path_text
from json2vec.schema.queries import EACH
from json2vec.schema.schema import Schema

_Z = 3.719
"""A bound that chance exceeds in one of 10,000 samples."""
_ENOUGH = 50
"""Values from which a column may be called constant, or its unit be judged."""

UNITS: tuple[tuple[str, float, float], ...] = (
    ("a thousandth, such as kilometres for metres or seconds for milliseconds", 1e-3, 0.0),
    ("a thousandfold, such as milliseconds for seconds or metres for kilometres", 1e3, 0.0),
    ("a millionth, such as seconds for microseconds", 1e-6, 0.0),
    ("a millionfold, such as microseconds for seconds", 1e6, 0.0),
    ("a billionth, such as seconds for nanoseconds", 1e-9, 0.0),
    ("a billionfold, such as nanoseconds for seconds", 1e9, 0.0),
    ("a hundredth, such as metres for centimetres, or shares for percent", 1e-2, 0.0),
    ("a hundredfold, such as cents for euros, or percent for shares", 1e2, 0.0),
    ("a sixtieth, such as minutes for seconds", 1 / 60, 0.0),
    ("sixtyfold, such as seconds for minutes", 60.0, 0.0),
    ("1/3600, such as hours for seconds", 1 / 3600, 0.0),
    ("3600-fold, such as seconds for hours", 3600.0, 0.0),
    ("feet for metres", 3.28084, 0.0),
    ("metres for feet", 0.3048, 0.0),
    ("miles for kilometres", 0.621371, 0.0),
    ("kilometres for miles", 1.609344, 0.0),
    ("pounds for kilograms", 2.204623, 0.0),
    ("kilograms for pounds", 0.4535924, 0.0),
    ("centimetres for inches", 2.54, 0.0),
    ("inches for centimetres", 0.3937008, 0.0),
    ("degrees for radians", 57.29578, 0.0),
    ("radians for degrees", 0.01745329, 0.0),
    ("Fahrenheit for Celsius", 1.8, 32.0),
    ("Celsius for Fahrenheit", 1 / 1.8, -32 / 1.8),
    ("Kelvin for Celsius", 1.0, 273.15),
    ("Celsius for Kelvin", 1.0, -273.15),
    ("the opposite sign", -1.0, 0.0),
)
"""What is taken for what: name, factor, offset."""


def bounds(count: int, observations: int) -> tuple[float, float]:
    """Wilson's bounds, a lower and an upper one, of a rate of which ``count`` in ``observations`` were seen."""
    if not observations:
        return 0.0, 1.0
    n, p, z2 = observations, count / observations, _Z * _Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    reach = _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def excess(rate: float, observations: int, expected: float, limits: Pair) -> Severity | None:
    """How bad a rate is; None where chance or the limits allow it.

    Args:
        rate: the share seen in the sample, from 0 to 1.
        observations: how many independent observations the rate was taken of.
        expected: the share in the training, from 0 to 1.
        limits: how far above ``expected`` the rate may lie: (warning, error).
    """
    low, _ = bounds(round(rate * observations), observations)
    if low > expected + limits[1]:
        return "error"
    return "warning" if low > expected + limits[0] else None


def check_rates(sample: Profile, profile: Profile, schema: Schema, limits: Limits) -> list[Breach]:
    """Compare a sample with the training.

    Rates are taken of as many observations as the sample has rows, at most: what lies in one record is not independent.

    Args:
        sample: the profile of some of the new rows, counted by a `Profiler` with ``reference=profile``.
        profile: the profile of the training.
        schema: the schema of the model.
        limits: which rates are tolerated.
    """
    breaches: list[Breach] = []
    for address, leaf in schema.inputs.items():
        expected, sampled = profile.leaves.get(address), sample.leaves.get(address)
        if expected is None or sampled is None or expected.type != leaf.type:
            continue
        query = schema.query(address)
        where = query.text if query.steps is None else path_text(query.steps)
        breaches += _leaf(_Leaf(where, str(address), sample.rows, profile.preprocessed, limits), expected, sampled)
    for address, lengths in sample.arrays.items():
        if address in schema.arrays and address in profile.arrays:
            breaches += _array(_list_path(schema, address), address, profile.arrays[address], lengths, limits)
    return breaches


def _list_path(schema: Schema, address: str) -> str:
    depth = len(address.split("/")) - 1
    for leaf in schema.inputs:
        steps = schema.query(leaf).steps
        if steps is not None and leaf.startswith(f"{address}/"):
            lists = [index for index, step in enumerate(steps) if step is EACH]
            return path_text(steps[: lists[depth - 1]])
    return address


class _Leaf:
    """Where a leaf's values come from, for its breaches."""

    def __init__(self, where: str, address: str, rows: int, preprocessed: bool, limits: Limits) -> None:
        self.where, self.address, self.rows, self.limits = where, address, rows, limits
        self._made = " (of what the preprocessor made)" if preprocessed else ""

    def breach(self, kind: str, severity: Severity, expected: str, found: str, remedy: str) -> Breach:
        return Breach(kind, severity, self.where, f"{expected}{self._made}", found, remedy, addresses=(self.address,))


def _leaf(at: _Leaf, expected: LeafProfile, sampled: LeafProfile) -> Iterator[Breach]:
    yield from _nulls(at, expected, sampled)
    once = expected.apart.constant > 0  # in a folder of the training all values were the same, too
    if expected.labels and sampled.labels:
        yield from _labels(at, expected.labels, sampled.labels, once)
    if expected.numbers and expected.numbers.count and sampled.numbers:
        yield from _numbers(at, expected.numbers, sampled.numbers, once)


def _nulls(at: _Leaf, expected: LeafProfile, sampled: LeafProfile) -> Iterator[Breach]:
    if not sampled.occupied or not expected.occupied:
        return
    observations = min(sampled.occupied, at.rows)
    was, now, most = expected.null_rate, sampled.null_rate, max(expected.null_rate, expected.apart.null_rate)
    severity = excess(now, observations, most, at.limits.null_rate)
    if severity is not None:
        folder = f", {most:.1%} in one folder" if most > was else ""
        yield at.breach(
            "null_rate", severity, f"{was:.1%} nulls{folder}",
            f"{now:.1%} nulls ({sampled.null} of {sampled.occupied} values sampled)",
            f"find out why {at.where} has no value here; if that is how it is now, train again",
        )  # fmt: skip
    elif bounds(round(now * observations), observations)[1] < was - at.limits.null_rate[1]:
        yield at.breach(
            "fewer_nulls", "warning", f"{was:.1%} nulls",
            f"{now:.1%} nulls ({sampled.null} of {sampled.occupied} values sampled)",
            "make sure that no placeholder (0, -1, 'n/a') stands where nothing is known",
        )  # fmt: skip


def _labels(at: _Leaf, expected: Labels, sampled: Labels, once: bool) -> Iterator[Breach]:
    observations = min(sampled.count, at.rows)
    was, now = expected.expected_unknown_rate, sampled.unknown_rate
    severity = excess(now, observations, was, at.limits.unknown_rate)
    if severity is not None:
        strange = ", ".join(f"{label!r:.80} ({count}x)" for label, count in sampled.strange[:3])
        usual = [f"{label!r:.80}" for label, _ in expected.top[:3]] + ["..."] * (expected.distinct > 3)
        yield at.breach(
            "unknown_rate", severity,
            f"{was:.1%} labels that the model does not know; it knows {', '.join(usual) or 'none'}",
            f"{now:.1%} unknown labels ({sampled.unknown} of {sampled.count} sampled): {strange}"
            f"{_spelling(expected, sampled)}",
            f"write the labels of {at.where} as before; if they are new on purpose, train again",
        )  # fmt: skip
    different = sampled.distinct + len(sampled.strange)
    if different == 1 and observations >= _ENOUGH and expected.top and expected.count and not once:
        share = max(count for _, count in expected.top) / expected.count
        if share**observations < SURE:
            label, _ = max((*sampled.top, *sampled.strange), key=lambda pair: pair[1])
            yield _constant(at, f"{expected.distinct} different labels", f"{label!r:.80}")


def _constant(at: _Leaf, expected: str, value: str) -> Breach:
    return at.breach(
        "constant", "warning", expected, f"{value} in every row sampled",
        f"find out whether {at.where} lost its source; contract_limits: ignore names columns for which that is usual",
    )  # fmt: skip


def _spelling(expected: Labels, sampled: Labels) -> str:
    """Whether unknown labels are known ones in another spelling."""
    by_bare_text = {_bare(label): label for label, _ in reversed(expected.top)}
    for label, _ in sampled.strange:
        twin = by_bare_text.get(_bare(label))
        if twin is None:
            continue
        if isinstance(label, str) != isinstance(twin, str):
            return f"; did you mean {twin!r:.80} ({type(twin).__name__}, not {type(label).__name__})?"
        blanks = isinstance(label, str) and isinstance(twin, str) and label.strip() == twin.strip()
        return f"; did you mean {twin!r:.80} for {label!r:.80}? They differ in {'white space' if blanks else 'case'}"
    return ""


def _bare(label: Label) -> str:
    text = str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
    return " ".join(text.split()).casefold().removesuffix(".0")


def _numbers(at: _Leaf, expected: Numbers, sampled: Numbers, once: bool) -> Iterator[Breach]:
    count = sampled.count + sampled.infinite
    observations = min(count, at.rows)
    middle, usual = _range(sampled), _range(expected)
    changed = _unit(expected, sampled) if min(sampled.count, at.rows) >= _ENOUGH else None
    if changed is not None:
        unit, severity = changed
        yield at.breach(
            "unit_change", severity, usual, f"{middle}: all quantiles fit {unit}",
            f"write {at.where} in the unit of the training, or train again",
        )  # fmt: skip
        return
    severity: Severity | None = None
    if excess(sampled.far / count, observations, 0.0, at.limits.outside_rate) == "error":
        severity = "error"
    elif excess((sampled.outside + sampled.infinite) / count, observations, 0.0, at.limits.outside_rate) is not None:
        severity = "warning"
    if severity is not None:
        yield at.breach(
            "outside_rate", severity, usual,
            f"{middle}; {(sampled.outside + sampled.infinite) / count:.1%} of the values lie far outside that range",
            f"look for another unit or a placeholder in {at.where}; if that is how it is now, train again",
        )  # fmt: skip
    same = sampled.min == sampled.max and not sampled.infinite
    if same and observations >= _ENOUGH and expected.std > 0 and not once:
        share = max(expected.bins) / max(1, sum(expected.bins))
        if share**observations < SURE:
            yield _constant(at, usual, f"{sampled.min:.6g}")


def _range(numbers: Numbers) -> str:
    if not numbers.count:
        return "infinite values alone"
    return f"median {numbers.median:.6g}, {numbers.min:.6g} to {numbers.max:.6g}"


def _unit(expected: Numbers, sampled: Numbers) -> tuple[str, Severity] | None:
    """The unit that the values seem to be in now (all quantiles are those of the training in that unit), and how sure
    that is. Values that drift may happen to fit a factor near 1: days since the first of the month grow by a half.

    An error where some quantile moved by more than the whole spread of the training, or by a factor of ten and more; a
    warning where it moved by half the spread and a factor of two.
    """
    spread = expected.quantiles[-1] - expected.quantiles[0]
    if spread <= 0 or len(set(expected.quantiles)) < 4:
        return None

    def miss(factor: float, offset: float) -> float:
        pairs = zip(expected.quantiles, sampled.quantiles, strict=True)
        return max(abs(now - (factor * was + offset)) for was, now in pairs) / (abs(factor) * spread)

    def mirrored() -> float:
        pairs = zip(reversed(expected.quantiles), sampled.quantiles, strict=True)
        return max(abs(now + was) for was, now in pairs) / spread

    misses = [(mirrored() if factor < 0 else miss(factor, offset), name, factor) for name, factor, offset in UNITS]
    best, name, factor = min(misses)
    moved = miss(1.0, 0.0)
    if best >= 0.1 or moved <= 5 * best:
        return None
    if moved > 1.0 or (moved > 0.5 and not 0.1 < abs(factor) < 10.0):
        return name, "error"
    return (name, "warning") if moved > 0.5 and not 0.5 < factor < 2.0 else None


def _array(where: str, address: str, expected: Lengths, sampled: Lengths, limits: Limits) -> Iterator[Breach]:
    empty, overflow = (
        max(expected.empty_rate, expected.most_empty), max(expected.overflow_rate, expected.most_overflow)
    )  # fmt: skip
    for kind, was, now, pair, wording, remedy in (
        ("empty_rate", empty, sampled.empty_rate, limits.empty_rate, "empty or missing lists",
         f"find out why {where} is empty here"),
        ("overflow_rate", overflow, sampled.overflow_rate, limits.overflow_rate,
         f"lists longer than the model reads (the longest had {expected.longest} items)",
         f"items of {where} beyond max_length are cut off; train again with a larger one if they matter"),
    ):  # fmt: skip
        severity = excess(now, sampled.lists, was, pair)
        if severity is not None:
            counted = sampled.empty if kind == "empty_rate" else sampled.overflow
            yield Breach(
                kind, severity, where, f"{was:.1%} {wording}",
                f"{now:.1%} ({counted} of {sampled.lists} lists sampled; the longest has {sampled.longest} items)",
                remedy, addresses=(address,),
            )  # fmt: skip
