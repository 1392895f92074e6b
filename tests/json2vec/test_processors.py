"""Processors: what they are told, how postprocessors are aligned, and what they are called again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest
from preprocessed import run

from json2vec.address import Address
from json2vec.errors import AlignmentError, ProcessorError
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


@pytest.fixture(autouse=True)
def _clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json2vec.processors.PREPROCESSORS", PREPROCESSORS.copy())


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
