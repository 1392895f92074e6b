# ruff: noqa: PT017 - either outcome is right, and only one of them is an error
"""Whatever a preprocessor gives, and whatever it gets: rows, or an error that names file and row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import HOSTILE

from json2vec.errors import ProcessorError
from json2vec.processors import Preprocessor
from json2vec.reading.preprocessing import PreprocessorRun
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

ROWS = pa.record_batch({"id": [0, 1, 2]})
TYPES: list[Any] = [None, pa.int64(), pa.string(), pa.timestamp("us"), pa.list_(pa.float64()), pa.decimal128(9, 2)]


@pytest.mark.parametrize("arrow_type", TYPES, ids=str)
@pytest.mark.parametrize("at", [0, 2])
def test_a_hostile_output_is_kept_or_an_error_names_its_row(arrow_type: Any, at: int) -> None:
    schema = None if arrow_type is None else pa.schema([("v", arrow_type)])
    refused = []
    for name, value in HOSTILE.items():
        made = Preprocessor(lambda row, v=value: {"v": v if row["id"] == at else None}, schema=schema)
        try:
            observations, _ = PreprocessorRun(made)(ROWS, lambda row: f"a.parquet: row {row}")
        except ProcessorError as exc:
            refused.append(name)
            assert str(exc).startswith(f"a.parquet: row {at}: "), (name, exc)
            assert "Remedy" in str(exc)
            str(exc).encode()
        else:
            observations.validate(full=True)
    assert {"100,000 lists", "endless", "half a pair"} <= set(refused)


FAR = [pa.array([10**12], pa.int64()).cast(pa.timestamp("s")), pa.array([-800_000], pa.date32())]


@pytest.mark.parametrize("far", FAR, ids=["after", "before"])
def test_a_time_that_python_cannot_hold_is_a_text_for_a_function_and_keeps_its_value(tmp_path: Path, far: Any) -> None:
    column = pa.concat_arrays([pa.nulls(5, far.type), far])
    pq.write_table(pa.table({"id": list(range(6)), "when": column}), tmp_path / "a.parquet")
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")
    seen: list[Any] = []

    def unchanged(row: dict[str, Any]) -> dict[str, Any]:
        seen.append(row["when"])
        return row

    batches = list(read_rows(made, store, [(0, 6)], batch_size=8, preprocessor=Preprocessor(unchanged)))
    assert seen[:5] == [None] * 5
    assert isinstance(seen[5], str)
    assert batches[0].observations.column("when").equals(batches[0].inputs.column("when"))
