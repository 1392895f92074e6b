"""A workload: schema, sizes and seed in one JSON file, and the made-up rows that go with it.

The rows hold no nulls, NaNs or empty arrays: there the two sides mean different things on purpose, and the benchmark
compares the same work. Runs on both sides, so it imports numpy and pyarrow only.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).resolve().parent / "workloads"


def load(path: str | Path) -> dict[str, Any]:
    """Read one workload file."""
    return json.loads(Path(path).read_text())


def names() -> list[str]:
    """The workloads there are, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def make_column(field: dict[str, Any], count: int, rng: np.random.Generator) -> pa.Array:
    """`count` values of one field; an array's items are 1 to max_length a row, at random."""
    if field["type"] == "number":
        return pa.array(np.round(rng.lognormal(1.0, 1.0, count), 4))
    if field["type"] == "category":
        labels = pa.array([f"{field['name']}-{index}" for index in range(field["labels"])])
        return labels.take(pa.array(rng.integers(0, field["labels"], count)))
    if field["type"] == "array":
        lengths = rng.integers(1, field["max_length"] + 1, count)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), make_struct(field["fields"], int(offsets[-1]), rng))
    raise ValueError(f"workload field {field['name']!r}: type {field['type']!r}, expected number, category or array")


def make_struct(fields: list[dict[str, Any]], count: int, rng: np.random.Generator) -> pa.StructArray:
    """`count` objects with one child a field."""
    columns = [make_column(field, count, rng) for field in fields]
    return pa.StructArray.from_arrays(columns, names=[field["name"] for field in fields])


def make_rows(workload: dict[str, Any], count: int, seed: int) -> pa.Table:
    """`count` rows with an `id` column and one column a root field; targets are random labels."""
    rows = make_struct(workload["fields"], count, np.random.default_rng(seed))
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(rows)]).add_column(0, "id", pa.array(range(count)))


def write_rows(workload: dict[str, Any], folder: Path) -> None:
    """Write the rows to predict as `workload["files"]` Parquet files of about equal size."""
    rows = make_rows(workload, workload["rows"], workload["seed"])
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, rows.num_rows, workload["files"] + 1).astype(int)
    for index, (start, stop) in enumerate(pairwise(bounds)):
        pq.write_table(rows.slice(start, stop - start), folder / f"part-{index}.parquet")
