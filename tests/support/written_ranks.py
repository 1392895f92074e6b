"""Ranks that write rows of one plan, and their documents to tamper with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from json2vec.rank_files.layout import rank_schema
from json2vec.rank_files.manifest import Marker
from json2vec.rank_files.rank_writer import RankFiles
from json2vec.reading.plan import Plan
from json2vec.reading.row_batch import source_array
from json2vec.reading.snapshot import snapshot_frame
from json2vec.storage.local import LocalStore

KIND = pa.struct([("record/x", pa.struct([("content", pa.float32())]))])


def table_of(rows: int) -> pa.Table:
    return pa.table({"id": pa.array(range(rows), pa.int64())})


def batch_of(plan: Plan, start: int, stop: int) -> tuple[pa.RecordBatch, pa.StructArray, pa.StructArray]:
    n = stop - start
    content = pa.StructArray.from_arrays([pa.array(np.linspace(0, 1, n), pa.float32())], ["content"])
    zeros, rows = np.zeros(n, int), np.arange(start, stop)
    source = source_array(["frame:predict"], zeros, rows, zeros, zeros + 1, rows.astype(np.uint64))
    inputs = pa.RecordBatch.from_arrays([pa.array(range(start, stop), pa.int64())], ["id"])
    return inputs, pa.StructArray.from_arrays([content], ["record/x"]), source


def files_of(path: Path, plan: Plan, rank: int = 0, **options: Any) -> RankFiles:
    schema = rank_schema(plan.snapshot.schema, KIND)
    options = {"attempt": "a1", "model_fingerprint": "m", "schema": schema} | options
    return RankFiles(LocalStore(path), plan=plan, rank=rank, **options)


def run(path: Path, plan: Plan, rank: int = 0, step: int = 5, **options: Any) -> Marker:
    files = files_of(path, plan, rank, **options)
    for start, stop in plan.share(rank):
        for first in range(start, stop, step):
            last = min(first + step, stop)
            files.write(*batch_of(plan, first, last), (first, last))
    return files.close()


@pytest.fixture
def plan() -> Plan:
    return Plan(snapshot_frame(table_of(23)), 2)
