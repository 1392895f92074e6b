"""Processors: what they may return, what they are told, and what they are called again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute
import pytest

from json2vec.address import Address
from json2vec.errors import AlignmentError, ProcessorError
from json2vec.model.predictions import to_python
from json2vec.processors import (
    PREPROCESSORS,
    Postprocessor,
    Preprocessor,
    apply_postprocessor,
    as_preprocessor,
    postprocess,
    preprocess,
    resolve,
)
from json2vec.reading.preprocessing import PreprocessorRun


@pytest.fixture(autouse=True)
def _clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json2vec.processors.PREPROCESSORS", PREPROCESSORS.copy())


def where(row: int) -> str:
    return f"file.parquet: row {row + 100}"


def run(function: Any, rows: list[dict], **options: Any) -> tuple[list[dict], list[int]]:
    made = function if isinstance(function, Preprocessor) else Preprocessor(function, **options)
    batch = pa.RecordBatch.from_struct_array(pa.array(rows))
    observations, origin = PreprocessorRun(made)(batch, where)
    return observations.to_pylist(), origin.tolist()


def test_rows_are_mapped_and_none_drops() -> None:
    rows, origin = run(lambda row: {"b": row["a"] * 2} if row["a"] != 2 else None, [{"a": 1}, {"a": 2}, {"a": 3}])
    assert (rows, origin) == ([{"b": 2}, {"b": 6}], [0, 2])


def test_generators_and_lists_give_several_rows() -> None:
    def generate(row: dict) -> Any:
        for i in range(row["n"]):
            yield {"i": i}

    assert run(generate, [{"n": 2}, {"n": 0}, {"n": 1}], yields=True) == ([{"i": 0}, {"i": 1}, {"i": 0}], [0, 0, 2])
    as_list = run(lambda row: [{"i": i} for i in range(row["n"])], [{"n": 2}], yields=True)
    assert as_list == ([{"i": 0}, {"i": 1}], [0, 0])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda row: [row], r"row 100: .*gave list; expected a dict.*yields=True"),
        (lambda row: 1 / 0, r"row 100: .*raised ZeroDivisionError"),
        (lambda row: {"x": 1 if row["a"] < 3 else "text"}, r"row 102: .*does not fit its schema.*schema="),
    ],
)
def test_what_a_row_may_not_be(function: Any, message: str) -> None:
    with pytest.raises(ProcessorError, match=message):
        run(function, [{"a": 1}, {"a": 2}, {"a": 3}])


def test_later_rows_have_to_fit_the_first_ones() -> None:
    made = PreprocessorRun(Preprocessor(lambda row: row))
    made(pa.RecordBatch.from_pylist([{"a": 1, "b": None}]), where)
    later, _ = made(pa.RecordBatch.from_pylist([{"a": 2, "b": "known now"}]), where)
    assert later.to_pylist() == [{"a": 2, "b": "known now"}]
    with pytest.raises(ProcessorError, match=r"row 101.*schema="):
        made(pa.RecordBatch.from_pylist([{"a": 2.0, "b": None}, {"a": 2.5, "b": None}]), where)
    with pytest.raises(ProcessorError, match=r"row 100.*'c', which no earlier row had.*schema="):
        made(pa.RecordBatch.from_pylist([{"c": 1}]), where)


def test_a_declared_schema_holds_from_the_start() -> None:
    schema = pa.schema([("a", pa.float64()), ("b", pa.string())])
    made = PreprocessorRun(Preprocessor(lambda row: row, schema=schema))
    batch, _ = made(pa.RecordBatch.from_pylist([{"a": 1}]), where)
    assert batch.schema == schema
    with pytest.raises(ProcessorError, match=r"'c', which schema= lacks"):
        made(pa.RecordBatch.from_pylist([{"c": 1}]), where)


def test_columnar() -> None:
    def doubled(batch: pa.RecordBatch) -> Any:
        return pa.table({"b": pa.compute.multiply(batch["a"], 2)})  # type: ignore[attr-defined]

    assert run(doubled, [{"a": 1}, {"a": 2}], columnar=True) == ([{"b": 2}, {"b": 4}], [0, 1])
    unsorted = pl.DataFrame({"x": ["c", "a", "b"], "__row__": [2, 0, 2]})
    assert run(lambda batch: unsorted, [{"a": 1}] * 3, columnar=True) == (
        [{"x": "a"}, {"x": "c"}, {"x": "b"}],
        [0, 2, 2],
    )


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (pa.table({"x": [1]}), "made 1 rows of 2.*__row__"),
        (pa.table({"x": [1], "__row__": [2]}), "names rows 2 to 2; expected 0 to 1"),
        (pa.table({"x": [1], "__row__": [None]}), "expected int64 without nulls"),
        ([{"x": 1}], "returned list"),
    ],
)
def test_columnar_misuse(result: Any, message: str) -> None:
    with pytest.raises(ProcessorError, match=message):
        run(lambda batch: result, [{"a": 1}, {"a": 2}], columnar=True)


def test_strata_and_keywords() -> None:
    def told(row: dict, strata: str, *, factor: int) -> dict:
        return {"s": str(strata), "a": row["a"] * factor}

    made = as_preprocessor(told, factor=3)
    assert made is not None
    assert run(made, [{"a": 2}]) == ([{"s": "predict", "a": 6}], [0])
    with pytest.raises(ProcessorError, match=r"'facter'.*did you mean 'factor'"):
        as_preprocessor(told, facter=3)
    with pytest.raises(ProcessorError, match="missing a required argument: 'factor'"):
        as_preprocessor(told)
    with pytest.raises(ProcessorError, match="no preprocessor is given, and: unknown keyword 'factor'"):
        as_preprocessor(None, factor=3)


def test_registration() -> None:
    @preprocess
    def shrink(row: dict) -> dict:
        return row

    assert as_preprocessor("shrink") == shrink
    assert shrink({"a": 1}) == {"a": 1}
    with pytest.raises(ProcessorError, match=r"no preprocessor 'shrnk' is registered.*did you mean 'shrink'"):
        as_preprocessor("shrnk")

    def other(row: dict) -> dict:
        return row

    other.__name__, other.__module__ = "shrink", "elsewhere"
    with pytest.raises(ProcessorError, match="name 'shrink' is taken"):
        preprocess(other)


MODULE = """
import json2vec.processors as p

@p.preprocess
def scale(row, *, by=1, keys=frozenset({"a", "b", "c"})):
    return {k: v * by for k, v in row.items() if k in keys}
"""


def test_fingerprints_are_stable_across_processes(tmp_path: Path) -> None:
    (tmp_path / "user_code.py").write_text(MODULE)
    script = (
        "import pickle, sys, user_code; made = user_code.scale.bind(by=2, keys={'x', 'y', 'z'}); "
        "again = pickle.loads(pickle.dumps(made)); assert again == made and again({'x': 2}) == {'x': 4}; "
        "print(made.fingerprint, user_code.scale.fingerprint)"
    )
    found = set()
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1
    bound, unbound = found.pop().split()
    assert bound != unbound


def test_fingerprints_follow_code_and_closure() -> None:
    def make(offset: int) -> Any:
        return lambda row: {"a": row["a"] + offset}

    same, other = Preprocessor(make(1)).fingerprint, Preprocessor(make(2)).fingerprint
    assert same == Preprocessor(make(1)).fingerprint
    assert same != other
    assert same != Preprocessor(make(1), yields=True).fingerprint


N = {"state": {"valued": [0.1, 0.2]}, "content": {"value": ["x", "y"]}}


def test_postprocessors_are_aligned() -> None:
    predictions = {Address("record", "label"): N}
    result = apply_postprocessor(lambda c, p: {"row": {"id": c["ids"], "array": np.zeros(2)}}, {"ids": [1, 2]}, N, 2)
    assert result["row"]["id"] == [1, 2]

    def mutate(context: Any, predictions: dict) -> None:
        predictions["more"] = [1, 2]

    assert "more" in apply_postprocessor(mutate, {}, predictions, 2)
    with pytest.raises(AlignmentError, match=r"address 'row', key 'x.y': expected 2 values.*got 1"):
        apply_postprocessor(lambda c, p: {"row": {"x": {"y": [1]}}}, {}, predictions, 2)
    with pytest.raises(AlignmentError, match=r"address 'row': expected a list .* 2 rows; got str"):
        apply_postprocessor(lambda c, p: {"row": "ab"}, {}, predictions, 2)
    with pytest.raises(ProcessorError, match="returned list"):
        apply_postprocessor(lambda c, p: [1, 2], {}, predictions, 2)
    with pytest.raises(ProcessorError, match="raised KeyError"):
        apply_postprocessor(lambda c, p: p["nothing"], {}, predictions, 2)


def test_columnar_postprocessors() -> None:
    @postprocess(columnar=True)
    def flat(context: Any, predictions: pa.StructArray) -> Any:
        return pa.record_batch({"score": predictions.field("p")})

    assert isinstance(flat, Postprocessor)
    array = pa.array([{"p": 1.0}, {"p": 2.0}])
    assert apply_postprocessor(flat, {}, array, 2)["score"].to_pylist() == [1.0, 2.0]
    assert apply_postprocessor(lambda c, p: None, {}, array, 2)["p"].to_pylist() == [1.0, 2.0]


def test_resolve_imports_only_what_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "untrusted_code.py").write_text("raise SystemExit('ran')")
    (tmp_path / "trusted_code.py").write_text(MODULE.replace("scale", "scale_by_name"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProcessorError, match=r"'untrusted_code' .* is not trusted"):
        resolve("untrusted_code:f", ["trusted_code"])
    assert resolve("trusted_code:scale_by_name", ["trusted_code"])({"a": 1}) == {"a": 1}
    assert resolve("os.path:join", ["os"]) is os.path.join
    with pytest.raises(ProcessorError, match="cannot be imported"):
        resolve("trusted_code:absent", ["trusted_code"])
    with pytest.raises(ProcessorError, match="'module:function'"):
        resolve("trusted_code", ["trusted_code"])


@pytest.mark.parametrize("array", [
    pa.array([], pa.string()), pa.array(["a", None, "b"]),
    pa.array([[], []], pa.list_(pa.struct([("a", pa.string())]))),
    pa.array([[[], []]], pa.list_(pa.list_(pa.string()))), pa.array([["a", None], ["b", "c"]]), pa.array([1, None]),
    pa.array([[1, 2], [3, 4]]), pa.array([[1, 2], [3]]), pa.array([[], [1]]), pa.array([None, [1]]),
    pa.array([["a", "b"], ["c", "d"]]).slice(1), pa.array([[[1.0, 2.0]], [[3.0, 4.0]]]).slice(1),
    pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), pa.array([True, None]),
], ids=str)  # fmt: skip
def test_the_short_ways_to_python_give_what_arrow_gives(array: pa.Array) -> None:
    found, expected = to_python(array), array.to_pylist(maps_as_pydicts="strict")
    assert (found, repr(found)) == (expected, repr(expected))
