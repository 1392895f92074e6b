"""Parity: what models trained by PyPI json2vec predict, over schemas and records that golden data does not reach."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from json2vec.model.model import Model

Agree = Callable[[Any, Any, str], int]

# How many numbers each folder's predictions hold, so that a comparison cannot become empty unnoticed.
NUMBERS = {"one": 2782, "two": 3205, "three": 4604, "older": 1236}


@cache
def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "inputs.ndjson").read_text().splitlines()]


def expected(folder: Path, model: Model) -> dict[str, dict[str, Any]]:
    """The peer's predictions by address, with Set contents as we show them: label to probability in every slot."""
    found = json.loads((folder / "predictions.json").read_text())
    for address, payload in found.items():
        leaf = model.schema.leaves.get(address)
        if leaf is not None and leaf.type == "set":
            payload["content"] = as_slots(payload["content"])
    return found


def as_slots(content: Any) -> Any:
    """The peer writes a dict of columns without threshold, and with one a dict a slot, at the root in brackets."""
    if isinstance(content, dict):
        columns = list(content.values())
        if columns and isinstance(columns[0], list):
            return [as_slots(dict(zip(content, row, strict=True))) for row in zip(*columns, strict=True)]
        return content
    if len(content) == 1 and isinstance(content[0], dict):
        return as_slots(content[0])
    return [as_slots(one) for one in content]


def masked(folder: Path, model: Model) -> list[str]:
    """Leaves that the peer decodes only because some slot of the batch says "<MASK>"; we do so on request."""
    declared = set(model.written())
    return [address for address in expected(folder, model) if address not in declared]


@pytest.fixture(scope="module", params=list(NUMBERS))
def folder(parity: Path, request: pytest.FixtureRequest) -> Path:
    return parity / request.param


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model.from_exported(folder)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_every_prediction_agrees(folder: Path, model: Model, agree: Agree, batch_size: int) -> None:
    theirs = expected(folder, model)
    model.batch_size = batch_size
    ours = model.predict(records(folder), reconstruct=masked(folder, model))
    assert list(ours) == list(theirs)
    assert sum(agree(ours[address], theirs[address], address) for address in theirs) == NUMBERS[folder.name]


def test_neighbours_do_not_matter(folder: Path, model: Model, agree: Agree) -> None:
    """The peer's own predictions move here, wherever a DateParts slot holds no value: see the README of the data."""
    ours = model.predict(records(folder)[::-1], reconstruct=masked(folder, model))
    theirs = {address: backwards(payload) for address, payload in expected(folder, model).items()}
    assert sum(agree(ours[address], theirs[address], address) for address in theirs) == NUMBERS[folder.name]


def backwards(columns: Any) -> Any:
    return {key: backwards(one) for key, one in columns.items()} if isinstance(columns, dict) else columns[::-1]


def test_a_saved_import_predicts_the_same(folder: Path, model: Model, agree: Agree, tmp_path: Path) -> None:
    loaded = Model.load(model.save(tmp_path / "model.ckpt"))
    theirs = expected(folder, model)
    ours = loaded.predict(records(folder), reconstruct=masked(folder, model))
    assert sum(agree(ours[address], theirs[address], address) for address in theirs) == NUMBERS[folder.name]


def test_a_mask_in_one_row_gives_no_row_more_addresses(parity: Path) -> None:
    model = Model.from_exported(parity / "three")
    assert len(masked(parity / "three", model)) == 10
    assert list(model.predict(records(parity / "three"))) == [
        "record/top/mid/low", "record/top/mid", "record/top", "record/top/mid/q", "record/label",
    ]  # fmt: skip


def test_the_columnar_path_agrees(parity: Path, agree: Agree) -> None:
    """The other folders mix texts with lists or numbers in one column, which Arrow cannot hold."""
    model, rows = Model.from_exported(parity / "one"), records(parity / "one")
    theirs = expected(parity / "one", model)
    ours = model.infer(model.encode(pa.Table.from_pylist(rows))).to_python()
    assert sum(agree(ours[address], theirs[address], address) for address in theirs) == NUMBERS["one"]
