# ruff: noqa: PT017 - either outcome is right, and only one of them is an error
"""Whatever a record holds: it is encoded, or an `EncodeError` names its row and address."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hostile import HOSTILE

import json2vec as j2v
from json2vec.data.quarantine import encode_or_reject, reject
from json2vec.errors import EncodeError
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_frame

LEAVES: dict[str, tuple[Any, Any]] = {
    "number": (j2v.Number("v"), 1.0),
    "category": (j2v.Category("v"), "a"),
    "set": (j2v.Set("v"), ["a"]),
    "dateparts": (j2v.DateParts("v", dateparts=["day_of_month"]), "2020-01-01"),
    "vector": (j2v.Vector("v", n_dim=2), [1.0, 2.0]),
    "jmespath": (j2v.Number("v", query="[*].v | [?@ != `7`]"), 1.0),
    "entity": (j2v.Array(j2v.Entity("v"), name="items", max_length=2), "a"),
}


def model_of(leaf: Any) -> j2v.Model:
    return j2v.Model.from_schema(leaf, j2v.Number("y", target=True), d_model=8, n_layers=1, n_heads=2).eval()


def record(kind: str, value: Any) -> dict[str, Any]:
    return {"items": [{"v": value}]} if kind == "entity" else {"v": value}


@pytest.mark.parametrize("kind", LEAVES)
def test_a_hostile_value_is_encoded_or_an_error_names_row_and_address(kind: str) -> None:
    leaf, good = LEAVES[kind]
    model, refused = model_of(leaf), []
    for name, value in HOSTILE.items():
        for rows, at in (([value], 0), ([good, good, value], 2), ([good, value, value], 1)):
            try:
                model.encode([record(kind, one) for one in rows])
            except EncodeError as exc:
                refused.append(name)
                assert exc.row == at, (name, exc)
                assert exc.address in ("record/v", "record/items/v", "v", "items"), (name, exc)
                assert str(exc).startswith(str(exc.address)), (name, exc)
                str(exc).encode()  # can be printed
    assert {"100,000 lists", "100,000 objects", "endless"} <= set(refused)


@pytest.mark.parametrize("kind", ["category", "set"])
def test_a_hostile_label_is_learned_or_an_error_names_row_and_address(kind: str) -> None:
    leaf, good = LEAVES[kind]
    for name, value in HOSTILE.items():
        try:
            model_of(leaf).learn([record(kind, good), record(kind, value)])
        except EncodeError as exc:
            assert exc.row == 1, (name, exc)
            assert exc.address in ("record/v", "v"), (name, exc)


def test_a_time_that_python_has_no_value_for_is_quarantined_by_a_query_that_needs_python() -> None:
    far = pa.table({"v": pa.array([0, 10**12, 1], pa.int64()).cast(pa.timestamp("s")), "y": [1.0, 2.0, 3.0]})
    made = snapshot_frame(far)
    (rows,) = read_rows(made, far, [(0, 3)], batch_size=9)
    model = model_of(j2v.DateParts("v", query="[*].v | [?@ != `7`]", dateparts=["day_of_month"]))
    with pytest.raises(EncodeError, match=r"record/v: .*33658") as caught:
        model.encode(rows)
    assert caught.value.row == 1
    batch: Any = encode_or_reject(model, rows)
    rejected = batch.rows.rejected.to_table().to_pylist()
    assert [row["row"] for row in rejected] == [1]
    assert "33658" in rejected[0]["raw"]
    assert len(batch.rows) == 2


def test_what_utf_8_does_not_hold_is_quarantined_escaped() -> None:
    frame = pa.table({"v": ["a", "b"]})
    (rows,) = read_rows(snapshot_frame(frame), frame, [(0, 2)], batch_size=9)
    left = reject(rows, 0, "found '\ud800'")
    assert left.rejected is not None
    assert left.rejected.to_table()["reason"].to_pylist() == ["found '\\ud800'"]
