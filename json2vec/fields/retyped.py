"""What a column of another Arrow type means to a field: the form of the answer, and rules that several fields share.

Every rule takes the options of the leaf, the type in training and the type now, both plain
(`json2vec.reading.plain.plain_type`). A rule that fits one field type alone stands in its file.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from json2vec.enums import Severity
from json2vec.reading.type_family import family
from json2vec.schema.nodes import Leaf

Verdict = tuple[Severity, str] | None
"""None: the field reads both types alike. Else how bad the other type is, and why."""

SAME_VALUES = "the model reads the same values, but the producers changed the type"


def any_type(leaf: Leaf | None, expected: pa.DataType, found: pa.DataType) -> Verdict:
    """The rule where nothing is known of what reads the column: another family of types is an error."""
    was, now = family(expected), family(found)
    if was == now == "timestamp":
        return zones(expected, found)
    if was == now:
        return None
    if {was, now} <= {"integer", "float"}:
        return "warning", "whole numbers and fractions may be treated differently"
    return "error", "what reads the column was made for the other type"


def label(leaf: Leaf | None, expected: pa.DataType, found: pa.DataType) -> Verdict:
    """The rule for labels of a vocabulary: 1 and 1.0 are one label, 1 and "1" are two."""
    was, now = family(expected), family(found)
    if was == now:
        if now == "decimal" and not expected.equals(found):
            return "error", "labels are compared as text, and another scale spells other labels"
        if now == "timestamp":
            return zones(expected, found)
        return unsigned(expected, found) if now == "integer" else None
    if {was, now} <= {"integer", "float"}:
        return "info", "1 and 1.0 are one label"
    if {was, now} <= {"integer", "float", "boolean"}:
        return "warning", "true and 1 are one label"
    if {was, now} == {"string", "binary"}:
        return "warning", "the bytes are read as UTF-8"
    return "error", "labels of the vocabulary have another type: none of these is known to the model"


def zones(expected: Any, found: Any) -> Verdict:
    """Two timestamps: the same instants in another unit or zone are harmless, a zone that came or went is an error."""
    if (expected.tz is None) != (found.tz is None):
        return "error", "times with a zone are read in UTC, times without one as they are written"
    if not expected.equals(found):
        return "info", "the same instants in another unit or zone"
    return None


def unsigned(expected: pa.DataType, found: pa.DataType) -> Verdict:
    """Two types of numbers: very large ones can appear where the new one is unsigned."""
    if pa.types.is_uint64(found) and not pa.types.is_uint64(expected):
        return "warning", "values of 2**63 and more are possible now, where negative numbers were"
    return None
