"""Batches of only those rows whose predictions are not known: changed, dropped and multiplied, or refused ones."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from incremental import ROWS, Runs, change_amounts
from rank_folders import rows_table

import json2vec as j2v


def test_only_changed_rows_meet_the_model_in_full_batches(runs: Runs) -> None:
    runs.predict("a1")
    runs.edit("a.parquet", change_amounts(0, 7, 39))
    runs.edit("sub/c.parquet", change_amounts(*range(0, 75, 5)))
    manifest = runs.predict("a2", reuse="a1", ranks=1)
    assert runs.seen == [8, 8, 2], "18 changed rows of 136 that lie scattered, in batches of 8"
    assert manifest.reused_rows == ROWS - 18
    runs.equals_full("a2", ranks=1)
    # A chain: what a2 took from a1 can be taken from a2.
    runs.edit("a.parquet", change_amounts(1))
    assert runs.predict("a3", reuse="a2").reused_rows == ROWS - 1
    assert runs.seen == [1]
    runs.equals_full("a3", "full2")


PROCESSORS = """
import json2vec as j2v

seen = []

def drop_and_double(row):
    seen.append(row["id"])
    if row["id"].endswith("9"):
        return
    for copy in range(3 if row["id"].endswith("4") else 1):
        yield {**row, "amount": None if row["amount"] is None else row["amount"] + copy}

drop_and_double = j2v.preprocess(yields=True)(drop_and_double)

batches = []

def label(context, predictions):
    batches.append(len(context["metadata"]))
    names = [row["id"] for row in context["metadata"]]
    return {"answer": {"id": names, "label": predictions["record/label"]["content"]["value"],
                       "score": predictions["record/score"]["content"],
                       "amount": predictions["record/amount"]["content"]}}
"""


@pytest.fixture(scope="module")
def processors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("processors")
    (folder / "reuse_processors.py").write_text(PROCESSORS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("reuse_processors")
    sys.path.remove(str(folder))


def test_a_preprocessor_that_drops_and_expands_sees_only_what_may_not_be_reused(runs: Runs, processors: Any) -> None:
    name = processors.__name__
    options: dict[str, Any] = {"preprocessor": f"{name}:drop_and_double", "trusted_modules": [name]}
    first = runs.predict("a1", **options)
    assert (first.rows > ROWS - first.rejected_rows, first.rejected_rows > 0) == (True, True)
    runs.edit("sub/c.parquet", lambda rows: [*change_amounts(4, 5, 9)(rows), rows[14]])
    processors.seen.clear()
    manifest = runs.predict("a2", reuse="a1", ranks=1, batch_size=8, **options)
    # Dropped rows left no hash behind; row 4 becomes three rows, row 5 one, row 9 none. The schema is taken from the
    # first rows, which are looked at for that as in a full run.
    assert sum(runs.seen) == 4
    assert manifest.reused_rows == manifest.rows - 4
    inferring = ROWS + 1
    assert len(processors.seen) - inferring == 2 + manifest.rejected_rows
    runs.equals_full("a2", ranks=1, **options)


def test_a_postprocessor_is_given_only_the_new_rows(runs: Runs, processors: Any) -> None:
    name = processors.__name__
    options: dict[str, Any] = {
        "postprocessor": f"{name}:label", "trusted_modules": [name], "reconstruct": ["amount"], "ranks": 1,
    }  # fmt: skip
    runs.predict("a1", **options)
    runs.edit("a.parquet", change_amounts(2, 30))
    processors.batches.clear()
    manifest = runs.predict("a2", reuse="a1", **options)
    assert processors.batches == [8, 2], "8 rows for the type of the column, then the changed ones"
    assert manifest.reused_rows == ROWS - 2
    names = runs.table("a2")
    assert pa.concat_arrays(names["predictions"].chunks).field(0).field("id").equals(
        pa.concat_arrays(names["inputs"].chunks).field("id")
    )
    runs.equals_full("a2", **options)


def test_quarantined_rows_are_tried_again_and_stay_out(runs: Runs, tmp_path: Path) -> None:
    inputs = tmp_path / "lines"
    inputs.mkdir()

    def write(*, changed: int | None = None, mended: bool = False) -> None:
        rows = rows_table("n", 60).drop_columns(["merchant"]).to_pylist()
        lines = []
        for i, row in enumerate(rows):
            row["amount"] = i + 0.5 if i == changed else float(i)
            lines.append("{broken" if i in (5, 33) and not mended else json.dumps(row))
        (inputs / "n.ndjson").write_text("\n".join(lines) + "\n")

    write()
    runs.inputs = inputs
    options: dict[str, Any] = {"suffix": "ndjson", "on_bad_row": "quarantine", "max_rejected": 10, "ranks": 1,
                               "missing_columns": "allow"}  # fmt: skip
    first = runs.predict("a1", **options)
    assert (first.rows, first.rejected_rows) == (58, 2)
    write(changed=40)
    manifest = runs.predict("a2", reuse="a1", **options)
    assert (manifest.rows, manifest.rejected_rows) == (first.rows, first.rejected_rows)
    assert manifest.reused_rows == first.rows - 1
    runs.equals_full("a2", **options)
    write(mended=True)
    assert runs.predict("a3", reuse="a2", **options).reused_rows == first.rows - 1
    runs.equals_full("a3", "full3", **options)


def test_rows_that_the_encoder_refuses_leave_the_others_in_place(runs: Runs, tmp_path: Path) -> None:
    """A row of a chunk is set aside after the chunk was looked up."""
    strict = j2v.Model.from_schema(
        j2v.Number("amount"), j2v.Array(j2v.Number("price"), name="items", max_length=3, overflow="error"),
        j2v.Number("score", target=True), d_model=8, n_layers=1, n_heads=2, batch_size=8,
    )  # fmt: skip
    runs.checkpoint = Path(strict.save(tmp_path / "strict.ckpt"))
    options: dict[str, Any] = {"on_bad_row": "quarantine", "max_rejected": 10, "ranks": 1}
    first = runs.predict("a1", **options)
    assert first.rejected_rows == 0

    def spoil(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number in (3, 4, 11, 30):
            rows[number]["items"] = [{"price": 2.0}] * (4 if number in (4, 30) else 3)
        return rows

    runs.edit("a.parquet", spoil)
    manifest = runs.predict("a2", reuse="a1", **options)
    assert (manifest.rejected_rows, manifest.reused_rows, manifest.rows) == (2, ROWS - 4, ROWS - 2)
    runs.equals_full("a2", **options)
    assert runs.predict("a3", reuse="a2", **options).reused_rows == ROWS - 2, "an attempt with rejected rows"
    runs.equals_full("a3", "full3", **options)
