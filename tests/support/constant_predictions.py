"""Folders of rank files whose predictions are all 0.5: of any format, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import json2vec as j2v
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.layout import rank_schema
from json2vec.rank_files.rank_writer import RankFiles
from json2vec.reading.plan import Plan
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

PREDICTIONS = pa.struct([("score", pa.struct([("value", pa.float64())]))])


def predicted(
    shards: Path, suffix: str, out: Path, *, inputs: Any = True, ranks: int = 1, batch_size: int = 4096, **reading: Any
) -> Path:
    """Write the folder ``out`` for the input files below ``shards``."""
    input_schema = reading.pop("input_schema", None)
    store = LocalStore(shards)
    plan = Plan(snapshot_files(store, suffix, input_schema=input_schema), ranks)
    schema = rank_schema(plan.snapshot.schema, PREDICTIONS, inputs)
    for rank in range(ranks):
        files = RankFiles(LocalStore(out), plan=plan, rank=rank, attempt="attempt-1", model_fingerprint="0" * 64,
                          schema=schema, segment_rows=1_000_000)  # fmt: skip
        for rows in read_rows(plan.snapshot, store, plan.share(rank), batch_size=batch_size, **reading):
            scores = pa.StructArray.from_arrays([pa.array(np.full(len(rows), 0.5))], fields=list(PREDICTIONS[0].type))
            files.write(rows.inputs, pa.StructArray.from_arrays([scores], fields=list(PREDICTIONS)), rows.source,
                        rows.span, rows.rejected)  # fmt: skip
        files.close()
    commit_predictions(out, plan, settings={"inputs": inputs, "device": "cpu", "precision": "32-true"})
    return out


def source_finding(out: Path, **options: Any) -> Any:
    """The finding ``source`` on a folder."""
    return j2v.verify_predictions(out, require=(), **options).finding("source")
