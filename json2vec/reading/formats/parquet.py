"""Parquet: the footer says rows and types; row groups are decoded in pieces of about 16 MB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.reading.formats.format import Counted, Format, agree, between
from json2vec.reading.formats.int96 import checked_int96, int96_columns
from json2vec.reading.formats.parquet_size import piece_rows
from json2vec.reading.formats.piece import Piece


def _count_parquet(file: IO[bytes], where: str, infer: bool) -> Counted:
    reader = pq.ParquetFile(file)
    metadata = reader.metadata
    rows = sum(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    agree(where, "the footer's num_rows and the sum of its row groups differ", metadata.num_rows, rows)
    return rows, reader.schema_arrow


def _read_parquet(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    reader = pq.ParquetFile(file, page_checksum_verification=True)
    metadata = reader.metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    ends = np.cumsum([group.num_rows for group in groups], dtype=np.int64)
    begins = ends - [group.num_rows for group in groups]
    wanted = np.flatnonzero((ends > start) & (begins < stop)).tolist()
    held = set(reader.schema_arrow.names)
    columns = [name for name in schema.names if name in held]
    int96 = int96_columns(reader, columns)
    flat = [i for i in range(metadata.num_columns) if metadata.schema.column(i).max_repetition_level == 0]
    for i in wanted:
        for j in flat:  # a column without lists has one value or null a row
            what = f"row group {i} and its column {metadata.schema.column(j).path!r} differ"
            agree(where, what, groups[i].num_rows, groups[i].column(j).num_values)
        if not columns:  # a schema without a column of this file: rows of nulls
            batches: Any = _column_less(groups[i].num_rows)
        else:
            rows = piece_rows(file, metadata, i, columns, where)
            batches = reader.iter_batches(rows, row_groups=[i], columns=columns)
            if int96:
                batches = checked_int96(file, metadata, batches, int96, schema, i, rows, where, int(begins[i]))
        yield from between(batches, int(begins[i]), start, min(stop, int(ends[i])))


def _column_less(rows: int) -> Iterator[pa.RecordBatch]:
    yield pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))


FORMAT = Format("Parquet", _count_parquet, _read_parquet, (".parquet",))
