"""A preprocessor run over a few rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute

from json2vec.processors import (
    Preprocessor,
)
from json2vec.reading.preprocessing import PreprocessorRun


def where(row: int) -> str:
    return f"file.parquet: row {row + 100}"


def run(function: Any, rows: list[dict], **options: Any) -> tuple[list[dict], list[int]]:
    made = function if isinstance(function, Preprocessor) else Preprocessor(function, **options)
    batch = pa.RecordBatch.from_struct_array(pa.array(rows))
    observations, origin = PreprocessorRun(made)(batch, where)
    return observations.to_pylist(), origin.tolist()
