"""DateParts: a point in time, cut into calendar parts.

Legend: B sequences, L slots, N rows, P slots of a row, C d_model.
"""

from __future__ import annotations

import datetime
import difflib
import re
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch
from pydantic import Field, field_validator
from torch import nn
from torch.nn import functional as F

from json2vec.batch import FieldBatch
from json2vec.columns import LeafColumn
from json2vec.enums import Tokens
from json2vec.errors import EncodeError
from json2vec.fields.counter import accuracy, masked_mean, state_loss
from json2vec.fields.recognition import Evidence, Fit, InferenceConfig, Proposal
from json2vec.fields.registry import Arrays, FieldType, Shape, Tensors, register
from json2vec.fields.retyped import SAME_VALUES, Verdict, zones
from json2vec.fields.values import state_array, state_type, uniform, uniform_type
from json2vec.fields.vocabulary import Vocabulary
from json2vec.reading.type_family import family
from json2vec.schema.nodes import Leaf

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

DEPTHS = {
    "day_of_year": 366, "week_of_year": 53, "month_of_year": 12, "day_of_month": 31, "week_of_month": 6,
    "day_of_week": 7, "hour_of_day": 24, "minute_of_hour": 60,
}  # fmt: skip
"""How many values a part can take."""

FIRST = {part: 0 if part in ("day_of_week", "hour_of_day", "minute_of_hour") else 1 for part in DEPTHS}
"""The smallest value of a part; Sunday is day 0 of the week."""

N_STATES = len(Tokens)
_MINUTE, _DAY = np.timedelta64(1, "m"), 1440


class DateParts(Leaf):
    """Options of a DateParts field.

    Args:
        dateparts: which parts to encode, of day_of_year, week_of_year, month_of_year, day_of_month, week_of_month,
            day_of_week, hour_of_day, minute_of_hour; case, blanks and camelCase do not matter.
        pattern: strptime pattern of texts; None reads ISO 8601.
        unit: unit of whole numbers counted from 1970-01-01 UTC (``s``, ``ms``, ``us``, ``ns``, ``m`` minutes,
            ``d`` days); None makes a number an error.
    """

    type: Literal["dateparts"] = "dateparts"
    dateparts: tuple[str, ...] = Field(min_length=1)
    pattern: str | None = None
    unit: Literal["s", "ms", "us", "ns", "m", "d"] | None = None

    @field_validator("dateparts", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        parts = tuple(_canonical(part) for part in ((value,) if isinstance(value, str) else value))
        if len(set(parts)) < len(parts):
            raise ValueError(f"dateparts must be unique; got {list(parts)}")
        return parts


def _canonical(part: str) -> str:
    name = re.sub(r"[\s-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(part).strip())).lower()
    if name not in DEPTHS:
        close = difflib.get_close_matches(name, DEPTHS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known parts: {', '.join(DEPTHS)}"
        raise ValueError(f"no date part {part!r}; {hint}")
    return name


def encode(column: LeafColumn, leaf: DateParts, vocabulary: Vocabulary) -> Arrays:
    """For each part int64: 5 + its value, or the state number in slots without a value."""
    minutes = as_minutes(column.values, leaf)
    encoded = {}
    for part in leaf.dateparts:
        content = column.state.copy()
        content[column.slots] = N_STATES + part_values(minutes, part)
        encoded[part] = content
    return encoded


def empty(leaf: DateParts, state: np.ndarray) -> Arrays:
    return {part: state.copy() for part in leaf.dateparts}


def part_values(minutes: np.ndarray, part: str) -> np.ndarray:
    """int64 (V,): one calendar part of times given as datetime64[m], network.md section 1."""
    days = minutes.astype("datetime64[D]")
    day = days.astype(np.int64)
    months = days.astype("datetime64[M]")
    january = days.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    if part == "month_of_year":
        return months.astype(np.int64) % 12 + 1
    if part == "day_of_month":
        return day - months.astype("datetime64[D]").astype(np.int64) + 1
    if part == "day_of_year":
        return day - january + 1
    if part == "day_of_week":
        return (day + 4) % 7
    if part == "hour_of_day":
        return minutes.astype(np.int64) % _DAY // 60
    if part == "minute_of_hour":
        return minutes.astype(np.int64) % 60
    if part == "week_of_month":
        first = months.astype("datetime64[D]").astype(np.int64)
        return 1 + (day - first + (first + 4) % 7) // 7
    # week_of_year: weeks start on Thursday; 31 December of a leap year that begins on a Wednesday would be week 54.
    return np.minimum(1 + day // 7 - january // 7, DEPTHS["week_of_year"])


def as_minutes(values: pa.Array | list[Any], leaf: DateParts) -> np.ndarray:
    """datetime64[m] (V,), floored; times with an offset in UTC, others as written."""
    if isinstance(values, list):
        return _one_by_one(values, leaf)
    arrow_type = values.type
    if pa.types.is_dictionary(arrow_type):
        return as_minutes(values.dictionary, leaf)[values.indices.to_numpy(zero_copy_only=False)]
    if pa.types.is_timestamp(arrow_type) or pa.types.is_date(arrow_type):
        unit = arrow_type.unit if pa.types.is_timestamp(arrow_type) else "ms" if pa.types.is_date64(arrow_type) else "D"
        integers = pa.int32() if pa.types.is_date32(arrow_type) else pa.int64()
        ticks = pc.cast(values, integers).to_numpy(zero_copy_only=False)
        return _floor(ticks.astype(np.int64), unit)
    if pa.types.is_integer(arrow_type):
        if not len(values):
            return _floor(np.zeros(0, np.int64), "m")
        if leaf.unit is None:
            raise EncodeError(
                f"expected a date or text, found the number {values[0].as_py()}. "
                "Remedy: declare what it counts with DateParts(unit='s') (or ms, us, ns, m, d)",
                item=0,
            )
        return _floor(values.to_numpy(zero_copy_only=False).astype(np.int64), leaf.unit)
    if pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type):
        return _texts(pc.cast(values, pa.string()), leaf)
    if not len(values):
        return _floor(np.zeros(0, np.int64), "m")
    raise EncodeError(f"expected a date or text, found {arrow_type}", item=0)


def _floor(ticks: np.ndarray, unit: str) -> np.ndarray:
    per_minute = {"m": 1, "s": 60, "ms": 60_000, "us": 60_000_000, "ns": 60_000_000_000}
    minutes = ticks * _DAY if unit in ("d", "D") else ticks // per_minute[unit]
    return minutes.astype("datetime64[m]")


_OFFSET = r"([zZ]|[+-]\d\d(:?\d\d)?)$"
_TIME = r"^\d{4}-\d\d-\d\d([T ]\d\d(:?\d\d(:?\d\d(\.\d+)?)?)?)?"


def _texts(texts: pa.Array, leaf: DateParts) -> np.ndarray:
    texts = pc.utf8_trim_whitespace(texts)
    if leaf.pattern is not None:
        try:
            stamps = pc.strptime(texts, format=leaf.pattern, unit="s")
            return _floor(pc.cast(stamps, pa.int64()).to_numpy(zero_copy_only=False), "s")
        except pa.ArrowInvalid:
            return _one_by_one(texts.to_pylist(), leaf)
    fits = pc.match_substring_regex(texts, _TIME + "(" + _OFFSET[:-1] + ")?$").to_numpy(zero_copy_only=False)
    if not fits.all():
        return _one_by_one(texts.to_pylist(), leaf)
    # Digits past the microsecond do not matter here, and Arrow refuses more than the unit holds.
    texts = pc.replace_substring_regex(texts, r"(\.\d{1,6})\d*", r"\1")
    aware = pc.match_substring_regex(texts, r"\d\d[T ].*" + _OFFSET).to_numpy(zero_copy_only=False)
    ticks = np.empty(len(texts), np.int64)
    try:
        for chosen, arrow_type in ((aware, pa.timestamp("us", "UTC")), (~aware, pa.timestamp("us"))):
            if chosen.any():
                stamps = pc.cast(texts.filter(pa.array(chosen)), arrow_type)
                ticks[chosen] = pc.cast(stamps, pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return _one_by_one(texts.to_pylist(), leaf)
    return _floor(ticks, "us")


def _one_by_one(values: list[Any], leaf: DateParts) -> np.ndarray:
    """datetime64[m] (V,): the slow way, which also finds the value at fault."""
    return np.array([_as_minute(value, leaf, item) for item, value in enumerate(values)], "datetime64[m]")


def _as_minute(value: Any, leaf: DateParts, item: int) -> np.datetime64:
    """A single value, floored to the minute; ``item`` is its index among the values of the field, for errors."""
    try:
        if isinstance(value, bool):
            raise ValueError("a boolean is no date")
        if isinstance(value, int):
            return as_minutes(pa.array([value]), leaf)[0]
        if isinstance(value, str):
            text = value.strip()
            value = (
                datetime.datetime.strptime(text, leaf.pattern)
                if leaf.pattern is not None
                else datetime.datetime.fromisoformat(text)
            )
        if isinstance(value, datetime.datetime):
            if value.tzinfo is not None:
                value = value.astimezone(datetime.UTC).replace(tzinfo=None)
            return np.datetime64(value.replace(second=0, microsecond=0), "m")
        if isinstance(value, datetime.date):
            return np.datetime64(value, "m")
    except EncodeError as exc:
        raise EncodeError(str(exc), item=item) from exc
    except (ValueError, OverflowError) as exc:
        form = f"a text of the pattern {leaf.pattern!r}" if leaf.pattern else "an ISO 8601 text"
        raise EncodeError(
            f"expected a date or {form}, found {value!r:.80}. Remedy: declare the form with DateParts(pattern=...)",
            item=item,
        ) from exc
    raise EncodeError(f"expected a date or text, found {type(value).__name__} {value!r:.80}", item=item)


class DatePartsEmbedder(nn.Module):
    """S[state] + the sum of one row of every part's table; slots without a value look up row = state."""

    def __init__(self, leaf: DateParts, shape: Shape) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(len(Tokens), shape.d_model)
        self.dateparts = nn.ModuleDict(
            {part: nn.Embedding(N_STATES + DEPTHS[part] + 1, shape.d_model) for part in leaf.dateparts}
        )

    def observe(self, field: FieldBatch, target: bool) -> None:
        """Nothing to take in."""

    def forward(self, state: torch.Tensor, content: Tensors) -> torch.Tensor:
        tokens = self.embeddings(state)
        for part, table in self.dateparts.items():
            tokens = tokens + table(content[part])
        return tokens


class DatePartsHeads(nn.Module):
    """One Lin for the state, one for every part."""

    def __init__(self, leaf: DateParts, shape: Shape) -> None:
        super().__init__()
        self.linear = nn.Linear(shape.d_model, len(Tokens))
        self.dateparts = nn.ModuleDict(
            {part: nn.Linear(shape.d_model, N_STATES + DEPTHS[part] + 1) for part in leaf.dateparts}
        )

    def forward(self, pooled: torch.Tensor) -> Tensors:
        return {"state": self.linear(pooled)} | {part: head(pooled) for part, head in self.dateparts.items()}


def loss(
    outputs: Tensors, field: FieldBatch, leaf: DateParts, embedder: DatePartsEmbedder, selected: torch.Tensor
) -> tuple[torch.Tensor, Tensors]:
    """Cross entropy of the state, plus the parts' mean; slots without a value train towards their state."""
    states = field.original_state.view_as(selected)
    state = state_loss(outputs["state"], states, selected)
    metrics = {"loss:state": state, "accuracy:state": accuracy(outputs["state"], states, selected)}
    content = state.new_zeros(())
    for part in leaf.dateparts:
        classes = field.original_content[part].view_as(selected)
        each = F.cross_entropy(outputs[part].flatten(0, 1), classes.flatten(), reduction="none")
        of_part = masked_mean(each, selected.flatten())
        metrics[f"loss:content:{part}"] = of_part
        metrics[f"accuracy:content:{part}"] = accuracy(outputs[part], classes, selected)
        content = content + of_part / len(leaf.dateparts)
    return state + content, metrics


def emit(outputs: Tensors, leaf: DateParts, vocabulary: Vocabulary, embedder: DatePartsEmbedder) -> Tensors:
    """For every part its most likely value among those it can take, and that value's probability."""
    emitted = {"state": outputs["state"].softmax(-1)}
    for part in leaf.dateparts:
        # Rows 5 + first ... 5 + first + depth - 1 of the head are real values.
        start = N_STATES + FIRST[part]
        logits = outputs[part][..., start : start + DEPTHS[part]]
        emitted[f"{part}.probability"], best = logits.softmax(-1).max(-1)
        emitted[part] = best + FIRST[part]
    return emitted


def write(emitted: Arrays, leaf: DateParts, vocabulary: Vocabulary) -> dict[str, pa.Array]:
    shape = emitted["state"].shape[:2]
    parts = [
        pa.StructArray.from_arrays(
            [uniform(emitted[part].astype(np.int32), shape), uniform(emitted[f"{part}.probability"], shape)],
            fields=list(_part_type(shape[1])),
        )
        for part in leaf.dateparts
    ]
    content = pa.StructArray.from_arrays(parts, fields=list(_content_type(leaf, shape[1])))
    return {"state": state_array(emitted["state"]), "content": content}


def _part_type(slots: int) -> pa.StructType:
    return pa.struct(
        [
            pa.field("value", uniform_type(pa.int32(), (slots,))),
            pa.field("probability", uniform_type(pa.float32(), (slots,))),
        ]
    )


def _content_type(leaf: DateParts, slots: int) -> pa.StructType:
    return pa.struct([pa.field(part, _part_type(slots)) for part in leaf.dateparts])


def output_type(leaf: DateParts, slots: int, vocabulary: Vocabulary) -> dict[str, pa.DataType]:
    return {"state": state_type(slots), "content": _content_type(leaf, slots)}


def retyped(leaf: DateParts, expected: pa.DataType, found: pa.DataType) -> Verdict:
    """Dates, timestamps and texts hold the same times; a whole number holds one only for those who know its unit."""
    was, now = family(expected), family(found)
    if now not in ("date", "timestamp", "string", "integer"):
        return "error", "the field reads dates"
    if was == now == "timestamp":
        return zones(expected, found)
    if was == now:
        return None
    if "integer" in (was, now):
        return "error", "a whole number says nothing about its unit and epoch"
    if now == "date" and {"hour_of_day", "minute_of_hour"} & set(leaf.dateparts):
        return "error", "the model reads the time of day, which a date has not"
    return "warning", SAME_VALUES + "; texts must be ISO 8601 or fit the field's pattern"


_ISO = r"^\s*\d{4}-\d\d-\d\d([T ]\d\d(:?\d\d(:?\d\d(\.\d+)?)?)?([zZ]|[+-]\d\d(:?\d\d)?)?)?\s*$"
_WITH_TIME = r"^\s*\d{4}-\d\d-\d\d[T ]"
_PROPOSED = ("month_of_year", "day_of_month", "day_of_week")


def recognise(column: Evidence, config: InferenceConfig) -> Proposal | None:
    """Dates and timestamps, and texts of which enough are ISO 8601."""
    column_family = family(column.type)
    if column_family in ("date", "timestamp"):
        stamps = pc.cast(column.values, pa.timestamp("ms"), safe=False)
        daytime = pc.any(pc.not_equal(stamps, pc.floor_temporal(stamps, unit="day"))).as_py()
        return Proposal(Fit.certain, "dates", _proposed(daytime))
    if column_family != "string":
        return None
    iso = pc.match_substring_regex(column.values, _ISO)
    ratio = pc.mean(pc.cast(iso, pa.float64())).as_py()
    if ratio < config.date_parse_min_ratio:
        return None
    warning = ""
    if ratio < 1:
        first = column.values.filter(pc.invert(iso))[0].as_py()
        warning = (
            f"{column.name}: {1 - ratio:.1%} of the texts taken for dates are none, as {first!r:.60}; encoding them "
            "is an error. Remedy: clean them in a preprocessor, or date_parse_min_ratio=1.0"
        )
    daytime = pc.any(pc.match_substring_regex(column.values, _WITH_TIME)).as_py()
    return Proposal(Fit.certain, f"{ratio:.0%} ISO 8601 texts", _proposed(daytime), warning)


def _proposed(daytime: bool) -> dict[str, Any]:
    """Options of a field for dates, or for times of day as well."""
    return {"dateparts": (*_PROPOSED, "hour_of_day") if daytime else _PROPOSED}


register(
    FieldType(
        name="dateparts", options=DateParts, encode=encode, empty=empty, embedder=DatePartsEmbedder,
        decoder=DatePartsHeads, loss=loss, emit=emit, write=write, output_type=output_type, retyped=retyped,
        recognise=recognise,
    )
)  # fmt: skip
