"""Folders of numbered rows in every format, read and compared with what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq

from json2vec.reading.readers import read_rows
from json2vec.reading.row_batch import RowBatch
from json2vec.reading.row_hash import row_hash
from json2vec.reading.snapshot import Snapshot


def write(path: Path, table: pa.Table) -> None:
    suffix = path.suffix[1:]
    if suffix == "parquet":
        pq.write_table(table, path, row_group_size=7)
    elif suffix == "feather":
        pyarrow.feather.write_feather(table, str(path), chunksize=5)
    elif suffix == "orc":
        pyarrow.orc.write_table(table, str(path), stripe_size=1)
    elif suffix == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        path.write_text("\n\n".join(json.dumps(row) for row in table.to_pylist()) + "\n")


def folder(root: Path, suffix: str, counts: list[int]) -> list[dict[str, Any]]:
    """Files of so many rows; returns what their rows are, in the order of the plan."""
    rows = []
    for file, count in enumerate(counts):
        mine = [{"id": file * 1000 + i, "t": f"ü{i}" if i % 3 else None, "f": i / 4} for i in range(count)]
        schema = pa.schema([("id", pa.int64()), ("t", pa.string()), ("f", pa.float64())])
        write(root / f"part#{file} ?.{suffix}", pa.Table.from_pylist(mine, schema))
        rows += [(f"part#{file} ?.{suffix}", i, row) for i, row in enumerate(mine)]
    return rows


def read(made: Snapshot, source: Any, ranges: Any = None, **options: Any) -> list[RowBatch]:
    return list(read_rows(made, source, ranges or [(0, made.rows)], **({"batch_size": 4} | options)))


def identities(batches: list[RowBatch]) -> list[tuple]:
    found = []
    for batch in batches:
        assert batch.inputs.num_rows == batch.observations.num_rows == len(batch.source) == len(batch)
        assert batch.source.field("hash").to_numpy().tolist() == row_hash(batch.inputs).tolist()
        found += [
            (source["file"], source["row"], row)
            for source, row in zip(batch.source.to_pylist(), batch.inputs.to_pylist(), strict=True)
        ]
    return found
