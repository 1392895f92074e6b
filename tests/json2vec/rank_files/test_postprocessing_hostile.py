# ruff: noqa: PT017 - either outcome is right, and only one of them is an error
"""Whatever a postprocessor returns: a column, or an error that names column and row; the process goes on."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hostile import HOSTILE

from json2vec.errors import ProcessorError
from json2vec.rank_files.postprocessing import payload_columns, payload_type

TYPES: list[Any] = [pa.int64(), pa.string(), pa.float32(), pa.timestamp("us"), pa.list_(pa.float64()),
                    pa.map_(pa.string(), pa.float32()), pa.list_(pa.map_(pa.string(), pa.float32()))]  # fmt: skip


@pytest.mark.parametrize("arrow_type", TYPES, ids=str)
def test_a_hostile_value_fits_its_type_or_an_error_names_its_row(arrow_type: Any) -> None:
    kept = []
    for name, value in HOSTILE.items():
        for given in (value, [value], {"a": value}):
            try:
                made = payload_columns(
                    {"a": [None, given, None]}, 3, pa.struct([("a", arrow_type)]), lambda row: f"a.parquet, row {row}"
                )
            except ProcessorError as exc:
                assert "['a'] of a.parquet, row 1 does not fit" in str(exc), (name, exc)
                str(exc).encode()
            else:
                made.validate(full=True)
                kept.append(name)
    assert "100,000 lists" not in kept


def test_the_type_of_a_hostile_value_is_found_or_an_error_names_the_column() -> None:
    for name, value in HOSTILE.items():
        try:
            arrow_type = payload_type({"a": [None, value]}, 2)
        except ProcessorError as exc:
            assert "['a']" in str(exc), name
        else:
            payload_columns({"a": [None, value]}, 2, arrow_type, str)
