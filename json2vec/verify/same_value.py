"""Is a value that our reader gave the one that a second reader gives: `same`. Values count, not how a type stores them.

``1`` and ``1.0`` are the same, ``0.1`` and the double nearest to it are where our column is a double, and a text of a
CSV file is the number that our column made of it. Where two right readers say different things, `DIFFERENCES` says so,
and nothing else is forgiven.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pyarrow as pa

DIFFERENCES: tuple[tuple[str, str, str], ...] = (
    ("CSV", "knows texts alone", "our number, boolean or time is the one that the text spells"),
    ("CSV", "a file with quotes that DuckDB cannot read: `""` is empty", "null or the empty text"),
    ("NDJSON", "numbers are decimals without rounding", "our double is the nearest to it; a time is the one that the "
     "text spells"),
    ("NDJSON", "a key that occurs twice in an object has its last value", "not compared"),
    ("any", "a column is declared with a narrower float than the file's", "our float is the nearest to the file's"),
    ("any", "a column is declared as text, the file has numbers or times", "our text spells them"),
    ("Parquet", "a duration, which Parquet lacks, is an integer", "the same number of our column's units"),
    ("Parquet", "a decimal of more than 38 digits is a double", "equal to 14 digits"),
    ("Parquet", "nanoseconds with a zone are cut to microseconds", "equal to the microsecond"),
    ("Parquet", "a UUID is its text", "the same 16 bytes"),
    ("ORC", "nanoseconds are cut to microseconds", "equal to the microsecond"),
    ("any", "a date is a time at midnight", "the same instant"),
    ("any", "a time has another zone", "the same instant"),
)
"""Format, what its second reader says differently, and what counts as equal then. docs/rank-files.md has the table."""

_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # nanoseconds
_DAY = 86_400 * 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})?(?P<gap>[T ])?((?P<clock>\d{2}:\d{2}(:\d{2})?)(\.(?P<part>\d{1,9}))?)?"
    r"\s*(?P<zone>Z|[-+]\d{2}(:?\d{2})?)?"
)
_HUGE = 400  # powers of ten past which a decimal is zero or infinity to every float


@dataclass(frozen=True)
class Moment:
    """A time.

    Attributes:
        kind: a day, a moment, a time of day, or a length of time.
        nanoseconds: since 1970-01-01 UTC, since midnight, or long.
        unit: nanoseconds of one step of the type that held it.
    """

    kind: Literal["date", "instant", "clock", "span"]
    nanoseconds: int
    unit: int


class Pairs(list[tuple[Any, Any]]):
    """The entries of a map, as pairs of key and value."""


class MaybeNull(str):
    """A cell of a CSV file that is null unless it was quoted, of which the second reader does not know."""

    __slots__ = ()


def plain_value(value: pa.Scalar) -> Any:
    """An Arrow value as plain Python: None, bool, int, float, Decimal, str, bytes, `Moment`, list, dict or `Pairs`."""
    kind: Any = value.type
    scalar: Any = value
    if not scalar.is_valid:
        return None
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_dictionary(kind):
        return plain_value(scalar.value)
    if pa.types.is_struct(kind):
        return {field.name: plain_value(scalar[i]) for i, field in enumerate(kind)}
    if pa.types.is_map(kind):
        return Pairs((plain_value(entry[0]), plain_value(entry[1])) for entry in scalar.values)
    if pa.types.is_nested(kind):
        return [plain_value(item) for item in scalar.values]
    if pa.types.is_timestamp(kind):
        return Moment("instant", scalar.value * _UNITS[kind.unit], _UNITS[kind.unit])
    if pa.types.is_date(kind):
        return Moment("date", scalar.value * (_DAY if pa.types.is_date32(kind) else 10**6), _DAY)
    if pa.types.is_time(kind):
        return Moment("clock", scalar.value * _UNITS[kind.unit], _UNITS[kind.unit])
    if pa.types.is_duration(kind):
        return Moment("span", scalar.value * _UNITS[kind.unit], _UNITS[kind.unit])
    if pa.types.is_floating(kind):
        return float(scalar.as_py())
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes()


def plain_object(value: Any) -> Any:
    """A Python value of another library, such as a datetime, as plain as `plain_value` makes Arrow's."""
    if isinstance(value, dict):
        return {name: plain_object(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_object(item) for item in value]
    if isinstance(value, datetime):
        since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
        return Moment("instant", since // timedelta(microseconds=1) * 1000, 1000)
    if isinstance(value, date):
        return Moment("date", (value.toordinal() - _EPOCH.toordinal()) * _DAY, _DAY)
    return value


def same(kind: Any, ours: Any, theirs: Any) -> bool | None:
    """Whether two plain values are the same; None where nobody can say.

    Args:
        kind: the Arrow type of our column.
        ours: the value that our reader gave, from `plain_value`.
        theirs: the value that the second reader gave.
    """
    if ours is None and isinstance(theirs, MaybeNull):
        return True
    if ours is None or theirs is None:
        return ours is theirs
    if isinstance(ours, str) and isinstance(theirs, dict | list):  # records that are kept as their JSON text
        try:
            return json.loads(ours, parse_float=Decimal) == theirs
        except ValueError:
            return False
    if pa.types.is_struct(kind):
        if isinstance(theirs, Pairs):
            theirs = dict(theirs)
        if not isinstance(theirs, dict):
            return False
        return _all(same(field.type, ours[field.name], theirs.get(field.name)) for field in kind)
    if pa.types.is_map(kind):
        pairs = list(theirs.items()) if isinstance(theirs, dict) else theirs
        if not isinstance(pairs, list) or len(pairs) != len(ours) or not all(len(pair) == 2 for pair in pairs):
            return False
        return _all(
            one
            for (key, item), (their_key, their_item) in zip(ours, pairs, strict=True)
            for one in (same(kind.key_type, key, their_key), same(kind.item_type, item, their_item))
        )
    if pa.types.is_nested(kind):
        if not isinstance(theirs, list) or len(theirs) != len(ours):
            return False
        pairs = zip(ours, theirs, strict=True)
        if isinstance(theirs, Pairs):  # a map that our reader gives as a list of keys and values
            pairs = ((one, dict(zip(one, pair, strict=False))) for one, pair in pairs)
        return _all(same(kind.value_type, one, other) for one, other in pairs)
    return _same_leaf(kind, ours, theirs)


def _all(answers: Any) -> bool | None:
    result: bool | None = True
    for answer in answers:
        if answer is False:
            return False
        if answer is None:
            result = None
    return result


def _same_leaf(kind: Any, ours: Any, theirs: Any) -> bool | None:
    if isinstance(ours, Moment) or isinstance(theirs, Moment):
        return _same_time(ours, theirs)
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return _word(ours) == _word(theirs) if isinstance(ours, str) or isinstance(theirs, str) else ours is theirs
    if _is_number(ours) and isinstance(theirs, str):
        spelled = _number(theirs)
        return spelled is not None and _same_number(kind, ours, spelled)
    if isinstance(ours, str) and _is_number(theirs):
        spelled = _number(ours)
        return spelled is not None and _same_number(pa.float64(), float(theirs), spelled) if isinstance(
            theirs, float) else spelled == theirs  # fmt: skip
    if _is_number(ours) and _is_number(theirs):
        return _same_number(kind, ours, theirs)
    if isinstance(ours, bytes) and isinstance(theirs, str):
        return ours in (theirs.encode("utf-8", "surrogatepass"), _uuid_bytes(theirs))
    if isinstance(ours, str) and isinstance(theirs, bytes):
        return ours.encode("utf-8", "surrogatepass") == theirs
    return isinstance(ours, type(theirs) if not isinstance(theirs, str) else str) and ours == theirs


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _word(value: Any) -> Any:
    text = str(value).lower()
    return {"1": "true", "0": "false"}.get(text, text)


def _number(text: str) -> Decimal | float | None:
    """The number that a text spells; None where it spells none."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or (number.is_zero() and number.is_signed()):
        return float(text)
    return number


def _uuid_bytes(text: str) -> bytes | None:
    try:
        return uuid.UUID(text).bytes if len(text) == 36 else None
    except ValueError:
        return None


def _same_number(kind: Any, ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        if math.isnan(ours) or math.isnan(theirs):
            return math.isnan(ours) and math.isnan(theirs)
        if ours == theirs:
            return math.copysign(1, ours) == math.copysign(1, theirs)
    if ours == theirs:
        return True
    if isinstance(ours, Decimal) and isinstance(theirs, float):  # more digits than the second reader's decimals have
        return pa.types.is_decimal256(kind) and math.isclose(float(ours), theirs, rel_tol=1e-14)
    if not isinstance(ours, float) or not pa.types.is_floating(kind):
        return False
    if isinstance(theirs, float) and kind.bit_width == 64:
        return False
    return _is_nearest(ours, theirs, kind)


def _is_nearest(ours: float, theirs: Any, kind: Any) -> bool:
    """Whether no float of the type ``kind`` is nearer to ``theirs``."""
    if isinstance(theirs, Decimal) and abs(theirs.adjusted()) > _HUGE:
        return ours == float(theirs)
    if not math.isfinite(ours) or not math.isfinite(theirs):
        return False
    number = kind.to_pandas_dtype()(ours)
    exact, distance = Fraction(theirs), abs(Fraction(ours) - Fraction(theirs))
    with np.errstate(over="ignore"):
        neighbours = [float(np.nextafter(number, number.dtype.type(way))) for way in (-math.inf, math.inf)]
    return all(not math.isfinite(one) or distance <= abs(Fraction(one) - exact) for one in neighbours)


def _same_time(ours: Any, theirs: Any) -> bool | None:
    if isinstance(ours, str) and isinstance(theirs, Moment):
        ours = _spelled(ours)
        if ours is None:
            return None
    if not isinstance(ours, Moment):
        return False
    if isinstance(theirs, str):
        theirs = _spelled(theirs)
        if theirs is None:
            return None
    if isinstance(theirs, int) and not isinstance(theirs, bool):
        return ours.nanoseconds == theirs * ours.unit
    if not isinstance(theirs, Moment):
        return False
    if {ours.kind, theirs.kind} != {"date", "instant"} and ours.kind != theirs.kind:
        return False
    if theirs.kind != "date" and theirs.unit > ours.unit and theirs.unit <= 1000:
        return abs(ours.nanoseconds - theirs.nanoseconds) < theirs.unit
    return ours.nanoseconds == theirs.nanoseconds


def _spelled(text: str) -> Moment | None:
    """The time that an ISO 8601 text spells; None for any other text."""
    found = _TIME.fullmatch(text.strip())
    if not found or not (found["day"] or found["clock"]) or bool(found["gap"]) != bool(found["day"] and found["clock"]):
        return None
    try:
        day = (date.fromisoformat(found["day"]).toordinal() - _EPOCH.toordinal()) * _DAY if found["day"] else 0
        clock = time.fromisoformat(found["clock"]) if found["clock"] else time()
        moved = datetime.fromisoformat(f"2000-01-01T00:00{found['zone']}").utcoffset() if found["zone"] else None
    except ValueError:
        return None
    of_day = ((clock.hour * 60 + clock.minute) * 60 + clock.second) * 10**9 + int((found["part"] or "").ljust(9, "0"))
    kind = "clock" if not found["day"] else "instant" if found["clock"] else "date"
    return Moment(kind, day + of_day - (moved or timedelta()) // timedelta(microseconds=1) * 1000, 1)
