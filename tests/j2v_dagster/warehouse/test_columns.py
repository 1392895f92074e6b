"""Column paths: syntax, projection, and errors that name what is there."""

from __future__ import annotations

import pyarrow as pa
import pytest

from j2v_dagster.warehouse.columns import ColumnPathError, parse_columns, parse_path, project

DAY = pa.struct([("content", pa.struct([("value", pa.string()), ("topk", pa.list_(pa.string()))]))])
SCHEMA = pa.schema(
    [
        ("inputs", pa.struct([("id", pa.string()), ("a b", pa.int64()), ("unknown", pa.null())])),
        ("predictions", pa.struct([("record/day", DAY)])),
        ("source", pa.struct([("file", pa.dictionary(pa.int32(), pa.string())), ("row", pa.int64())])),
    ]
)
CONSTANTS = {"attempt": "a1", "model": "m1", "snapshot": "s1", "created": "now"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("inputs.id", ("inputs", "id")),
        ('inputs["a b"]', ("inputs", "a b")),
        ('predictions["record/day"].content.value', ("predictions", "record/day", "content", "value")),
        (r'inputs["say \"hi\" \\ ]"].x', ("inputs", 'say "hi" \\ ]', "x")),
        ("manifest.attempt", ("manifest", "attempt")),
    ],
)
def test_paths_are_parsed(text: str, parts: tuple[str, ...]) -> None:
    assert parse_path(text).parts == parts


@pytest.mark.parametrize(
    "text",
    ["", "inputs", "other.x", ".inputs.x", "inputs..x", "inputs.", "inputs.a b", "inputs[0]", "inputs['x']",
     "inputs id", 'inputs["x', "manifest.secret", "manifest.attempt.x", "inputs.x["],
)  # fmt: skip
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ColumnPathError, match="column path"):
        parse_path(text)


def batch(*rows: dict[str, object] | None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=SCHEMA)


def columns(**paths: str) -> dict[str, object]:
    projection = project(parse_columns(paths, partition_column="dt"), SCHEMA, CONSTANTS)
    rows = batch(
        {"inputs": {"id": "x", "a b": 1}, "predictions": {"record/day": {"content": {"value": "late", "topk": ["q"]}}},
         "source": {"file": "f", "row": 7}},
        {"inputs": None, "predictions": {"record/day": None}, "source": {"file": "g", "row": 8}},
    )  # fmt: skip
    (found,) = projection.batches(iter([rows]))
    assert found.schema == projection.schema
    return found.to_pydict()


def test_nested_values_become_flat_columns() -> None:
    found = columns(
        id="inputs.id", n='inputs["a b"]', label='predictions["record/day"].content.value', file="source.file",
        top='predictions["record/day"].content.topk', attempt="manifest.attempt",
    )  # fmt: skip
    assert found == {
        "id": ["x", None], "n": [1, None], "label": ["late", None], "file": ["f", "g"], "top": [["q"], None],
        "attempt": ["a1", "a1"],
    }  # fmt: skip


def test_the_nulls_of_a_parent_are_kept() -> None:
    inner = pa.array([{"id": "hidden", "a b": 1, "unknown": None}], SCHEMA.field("inputs").type)
    masked = pa.StructArray.from_arrays(inner.flatten(), fields=list(inner.type), mask=pa.array([True]))
    others = [pa.nulls(1, SCHEMA.field(name).type) for name in ("predictions", "source")]
    projection = project(parse_columns({"id": "inputs.id"}, partition_column="dt"), SCHEMA, CONSTANTS)
    (found,) = projection.batches(iter([pa.RecordBatch.from_arrays([masked, *others], schema=SCHEMA)]))
    assert found.to_pydict() == {"id": [None]}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ('predictions["record/dey"].content', r"predictions holds 'record/day'; there is no 'record/dey'"),
        ("inputs.id.deeper", r"inputs\.id is string, not a struct"),
        ("inputs.unknown", r"every value of this input is null"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_is_there(path: str, message: str) -> None:
    with pytest.raises(ColumnPathError, match=message):
        project(parse_columns({"c": path}, partition_column="dt"), SCHEMA, CONSTANTS)


@pytest.mark.parametrize("names", [["id", "ID"], ["DT"], [""], ["a\0"], []])
def test_column_names_that_clash_are_refused(names: list[str]) -> None:
    with pytest.raises(ColumnPathError):
        parse_columns(dict.fromkeys(names, "inputs.id"), partition_column="dt")
