"""Whatever stands in a folder where its documents should be: an error of ours, soon, and without taking memory."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from written_ranks import run

import json2vec as j2v
from json2vec.errors import IncompletePredictions, Json2VecError
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.journal import read_adopted, read_segments
from json2vec.rank_files.manifest import MANIFEST_NAME
from json2vec.reading.plan import Plan
from json2vec.storage.local import LocalStore

VALUES: list[Any] = [None, True, -1, 10**30, 2**63, 1.5, float("nan"), "", "../../etc/passwd", "a\0b", "\ud800",
                     "x" * 5000, [], {}, [[]], [[0, 10**30]], {"a": 1}]  # fmt: skip
DEEP = "[" * 100_000 + "]" * 100_000


def replaced(value: Any, new: Any) -> Iterator[Any]:
    """``value`` with one of its parts being ``new``, for each part."""
    yield new
    parts = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, part in parts:
        for other in replaced(part, new):
            changed = copy.copy(value)
            changed[key] = other
            yield changed


@pytest.fixture
def folder(tmp_path: Path, plan: Plan) -> Path:
    for rank in range(2):
        run(tmp_path / "out", plan, rank)
    commit_predictions(tmp_path / "out", plan)
    return tmp_path / "out"


def ours(folder: Path) -> None:
    """Nothing but errors of ours, and each of them soon."""
    started = time.monotonic()
    try:
        j2v.read_predictions(folder)
    except Json2VecError:
        with contextlib.suppress(Json2VecError):
            assert j2v.verify_predictions(folder).passed is False
    assert time.monotonic() - started < 5


def test_a_manifest_with_any_wrong_value_is_refused(folder: Path) -> None:
    path = folder / MANIFEST_NAME
    right = json.loads(path.read_bytes())
    seen = 0
    for new in VALUES:
        for wrong in replaced(right, new):
            if wrong == right:
                continue
            path.write_text(json.dumps(wrong))
            try:
                j2v.read_predictions(folder)
            except Json2VecError:
                seen += 1
    assert seen > 500


@pytest.mark.parametrize(
    "change",
    [{"world_size": 10**30}, {"world_size": 2**31}, {"world_size": 60_000}, {"rows": 2**62}, {"input_rows": 2**62},
     {"settings": {}}, {"settings": {"reconstruct": [10**30]}}, {"snapshot": {}}, {"versions": {"": ""}}],
    ids=str,
)  # fmt: skip
def test_verification_says_what_is_wrong_soon(folder: Path, change: dict[str, Any]) -> None:
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    started = time.monotonic()
    assert not j2v.verify_predictions(folder).passed
    assert time.monotonic() - started < 5


def test_a_file_that_is_listed_twice_is_not_read_twice(folder: Path) -> None:
    path = folder / MANIFEST_NAME
    manifest = json.loads(path.read_bytes())
    manifest["files"].append(manifest["files"][0])
    path.write_text(json.dumps(manifest))
    with pytest.raises(IncompletePredictions, match=r"_manifest\.json is malformed.*'rank-0\.parquet' twice"):
        j2v.read_predictions(folder)
    assert not j2v.verify_predictions(folder).passed


@pytest.mark.parametrize("text", ["", "{", DEEP, '{"format":1,"a":' + DEEP + "}", "9" * 5000, "\ud800", "null", "NaN"])
@pytest.mark.parametrize("name", [MANIFEST_NAME, "rank-0.json"])
def test_documents_that_are_none(folder: Path, plan: Plan, text: str, name: str) -> None:
    (folder / name).write_text(text, errors="surrogatepass")
    ours(folder)
    if name != MANIFEST_NAME:
        with pytest.raises(IncompletePredictions, match=r"rank-0\.json"):
            commit_predictions(folder, plan)
        assert not j2v.verify_predictions(folder).passed


@pytest.mark.parametrize("name", [MANIFEST_NAME, "rank-0.json", "rank-0.parquet"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing", "link in a circle"])
def test_something_else_in_place_of_a_file(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nothing" if kind == "link to nothing" else name)
    ours(folder)


def test_journals_and_lists_of_adopted_segments(folder: Path) -> None:
    store = LocalStore(folder)
    for text in ("", "{", DEEP, '{"format":1,"segments":' + DEEP + "}", '{"segments": [1]}', "null"):
        (folder / "rank-0.segments.jsonl").write_text(text + "\n")
        (folder / "_adopted.json").write_text(text)
        with pytest.raises(IncompletePredictions, match=r"_adopted\.json"):
            list(read_segments(store))
        with pytest.raises(IncompletePredictions, match=r"_adopted\.json"):
            read_adopted(store)
        (folder / "_adopted.json").unlink()
        assert all(segment.rank != 0 for segment in read_segments(store))
