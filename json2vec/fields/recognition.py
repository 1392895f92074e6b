"""How a field type recognises columns that it fits: what it is shown, and what it may answer.

`json2vec.helpers.infer_schema` shows every column of a sample to every field type and follows the one that is surest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute
from pydantic import Field

from json2vec.schema.options import Options

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


class InferenceConfig(Options):
    """How `infer_schema` decides.

    Args:
        sample_size: rows looked at, the first ones.
        category_max_cardinality: whole numbers with at most this many different values become a Category.
        id_name_hints: whole numbers whose name holds one of these (any case) become a Category too.
        date_parse_min_ratio: share of ISO 8601 texts, 0..1, from which on a text column becomes DateParts. Encoding
            fails on the others, so a column with any is reported.
        infer_text: let long, mostly different texts become a Text field.
        text_min_avg_tokens: words a text must have on average for that.
        text_min_cardinality_ratio: share of different texts needed for that, 0..1.
        text_model_name: language model of those fields.
        vocab_cap: largest max_vocab_size proposed.
        array_length_quantile: max_length is this quantile of the lengths seen, 0..1.
        max_array_length: largest max_length proposed.
        overflow: what the arrays proposed do with items past max_length: ``head``, ``tail`` or ``error``.
        target: source key or keys, at any depth, that become targets.
    """

    sample_size: int = Field(10_000, gt=0)
    category_max_cardinality: int = Field(16, ge=0)
    id_name_hints: tuple[str, ...] = (
        "id", "zip", "postal", "code", "phone", "ssn", "uuid", "guid", "isbn", "sku",
    )  # fmt: skip
    date_parse_min_ratio: float = Field(0.8, gt=0, le=1)
    infer_text: bool = False
    text_min_avg_tokens: float = Field(5.0, ge=0)
    text_min_cardinality_ratio: float = Field(0.5, ge=0, le=1)
    text_model_name: str = "distilbert-base-uncased"
    vocab_cap: int = Field(50_000, gt=0)
    array_length_quantile: float = Field(0.95, ge=0, le=1)
    max_array_length: int = Field(1024, gt=0)
    overflow: Literal["head", "tail", "error"] = "head"
    target: str | frozenset[str] | None = None

    @property
    def targets(self) -> frozenset[str]:
        return frozenset([self.target]) if isinstance(self.target, str) else self.target or frozenset()


@dataclass(frozen=True)
class Evidence:
    """One column of the sample.

    Attributes:
        name: the name that its field would get.
        values: the values that are there, at least one, as an Arrow array without nulls.
    """

    name: str
    values: Any  # an Arrow array; its methods differ by type, and no type checker sees them

    @property
    def type(self) -> pa.DataType:
        return self.values.type

    @cached_property
    def distinct(self) -> int:
        """How many different values there are; not for lists and objects."""
        return pc.count_distinct(self.values).as_py()


class Fit(IntEnum):
    """How sure a field type is of a column."""

    possible = 1
    """The values can be read so, where nothing fits better: a text can be a label."""
    likely = 2
    """The values or the name suggest it: whole numbers of which there are but a few different ones."""
    certain = 3
    """The Arrow type, or the form of the values, says it: a timestamp."""


@dataclass(frozen=True)
class Proposal:
    """A field type fits a column.

    Attributes:
        fit: how sure the field type is. Of proposals that are equally sure, that of the type registered last wins.
        reason: why the type fits, for the `Decision`; such as ``lists of texts, 12 different``.
        options: the options of the field, besides its name and query.
        warning: what the user should be told in any case, or nothing.
    """

    fit: Fit
    reason: str
    options: Mapping[str, Any]
    warning: str = ""


@dataclass(frozen=True)
class Refusal:
    """A field type would fit a column but for something that is wrong with its values.

    Attributes:
        reason: what is wrong; told where no other field type fits the column.
    """

    reason: str
