"""Numbers and booleans in columns that are said to be text: their own text, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapped import snap

from json2vec.errors import ReadError
from json2vec.reading.formats.json_scalars import is_scalar_in_text, scalars_as_texts
from json2vec.reading.readers import read_rows
from json2vec.storage.local import LocalStore

SCHEMA = pa.schema(
    [("id", pa.string()), ("x", pa.float64()),
     ("l", pa.list_(pa.struct([("s", pa.large_string()), ("n", pa.int64())]))), ("ids", pa.list_(pa.string()))]
)  # fmt: skip


def rows(root: Path, schema: pa.Schema, **options: Any) -> list[Any]:
    made = snap(root, "ndjson", input_schema=schema)
    batches = read_rows(made, LocalStore(root), [(0, made.rows)], batch_size=10, **options)
    return [row for batch in batches for row in batch.inputs.to_pylist()]


def test_the_remedy_of_mixed_types_works(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('{"id":"1"}\n{"id":2.50}\n{"id":1e3}\n{"id":true}\n{"id":null}\n')
    with pytest.raises(ReadError, match=r"a\.ndjson: row 1: column 'id' changed from string to number.*input_schema="):
        snap(tmp_path, "ndjson")
    found = rows(tmp_path, pa.schema([("id", pa.string())]))
    assert [row["id"] for row in found] == ["1", "2.50", "1e3", "true", None]


def test_the_remedy_of_mixed_files_works(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('{"id":"1"}\n')
    (tmp_path / "b.ndjson").write_text('{"id":2}\n')
    with pytest.raises(ReadError, match=r"b\.ndjson: column 'id' has type int64; earlier.*string.*input_schema="):
        snap(tmp_path, "ndjson")
    assert rows(tmp_path, pa.schema([("id", pa.string())])) == [{"id": "1"}, {"id": "2"}]


def test_at_any_depth_and_numbers_elsewhere_stay(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "x": 2, "l": [{"s": -0.0, "n": 4}, {"s": "\0number", "n": None}, None], "ids": [1, "b", False, None]},
        {"id": "a", "x": 1.5, "l": None, "ids": [], "other": {"deep": [1, {"a": "\0numberr1"}]}},
    ]
    (tmp_path / "a.ndjson").write_text("\n".join(json.dumps(line) for line in lines))
    one, two = rows(tmp_path, SCHEMA)
    assert one == {"id": "1", "x": 2.0, "l": [{"s": "-0.0", "n": 4}, {"s": "\0number", "n": None}, None],
                   "ids": ["1", "b", "false", None]}  # fmt: skip
    assert two == {"id": "a", "x": 1.5, "l": None, "ids": []}


def test_objects_in_a_text_are_still_bad_rows(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('{"id":"1"}\n{"id":{"a":1}}\n{"id":3}\n{"id":[1]}\n{"id":5,"id":"5"}\n')
    schema = pa.schema([("id", pa.string())])
    with pytest.raises(ReadError, match=r"row 1 is not a JSON object.*changed from string to object"):
        rows(tmp_path, schema)
    assert rows(tmp_path, schema, on_bad_row="quarantine") == [{"id": "1"}, {"id": "3"}]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
    | st.sampled_from(["\0", "\0number1", '"\\u0000number"', "\u2028"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "other", "\0number"]), VALUES, max_size=3), st.booleans())
def test_only_scalars_of_text_columns_change(record: dict[str, Any], is_ascii: bool) -> None:
    line = json.dumps(record, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    made = json.loads(scalars_as_texts([line], pa.schema([("id", pa.string())])))
    value = record.get("id")
    scalar = isinstance(value, bool | int | float)
    wanted = record | ({"id": json.dumps(value)} if scalar else {})
    assert json.dumps(made) == json.dumps(wanted)


def test_which_refusals_are_meant() -> None:
    assert is_scalar_in_text("JSON parse error: Column(/id) changed from string to number in row 1")
    assert not is_scalar_in_text("JSON parse error: Column(/id) changed from string to object in row 1")
    assert not is_scalar_in_text("JSON parse error: Column(/id) changed from number to string in row 1")
