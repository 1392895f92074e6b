"""How many rows of a Parquet row group fit into memory at once, known before one of them is decoded.

A file of 7 kB can decode to 2 GB: a text of 1 MB that stands in a dictionary once and in 2,300 rows. The footer tells
the bytes of a column before dictionaries are looked up, so the longest text of the dictionary counts for every row.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from json2vec.errors import ReadError
from json2vec.reading.formats.piece import MAX_PIECE_ROWS

pc: Any = pyarrow.compute

PIECE_BYTES = 16 << 20  # a piece of a Parquet file is decoded to about this much; rows of many MB come one by one
MAX_ROW_BYTES = 256 << 20  # more than this in a row of average size is refused
_UNKNOWN_BYTES = 256 << 20  # where only an upper bound is known, a piece stays below this
_UNEVEN_BYTES = 256 << 20  # texts of a row group may be of very uneven lengths: beyond this come few rows at a time
_UNEVEN_ROWS = 1024
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}


def piece_rows(file: IO[bytes], metadata: pq.FileMetaData, group: int, columns: list[str], where: str) -> int:
    """The rows of row group ``group`` to decode at a time, at least 1.

    Args:
        file: the Parquet file; a column with a dictionary may have one row of it decoded.
        metadata: its footer.
        group: number of the row group.
        columns: the top-level columns that are read.
        where: the file, for messages.

    Raises:
        ReadError: a single row of average size needs more than `MAX_ROW_BYTES`.
    """
    row_group, wanted = metadata.row_group(group), set(columns)
    rows = max(1, row_group.num_rows)
    exact = texts = 0  # bytes of the whole row group
    most: Any = MAX_PIECE_ROWS
    dictionaries: list[Any] = []
    for j in range(metadata.num_columns):
        chunk = row_group.column(j)
        if chunk.path_in_schema.partition(".")[0] not in wanted and chunk.path_in_schema not in wanted:
            continue
        stored = max(0, chunk.total_uncompressed_size)
        width = _WIDTHS.get(chunk.physical_type, metadata.schema.column(j).length or 0)
        exact += max(stored, chunk.num_values * width)
        if chunk.physical_type != "BYTE_ARRAY":
            continue
        texts += stored
        if "DELTA_BYTE_ARRAY" in chunk.encodings:  # a text may repeat the beginning of the one before it
            most = min(most, max(1, _UNKNOWN_BYTES * rows // max(1, stored * chunk.num_values)))
        elif chunk.has_dictionary_page and stored * min(chunk.num_values, MAX_PIECE_ROWS) > _UNKNOWN_BYTES:
            dictionaries.append(chunk)
    if dictionaries:
        exact += _looked_up(file, metadata, group, dictionaries)
    bytes_per_row = exact / rows
    if bytes_per_row > MAX_ROW_BYTES:
        raise ReadError(
            f"{where}: row group {group}: its {rows} rows decode to about {exact / 2**20:,.0f} MiB; expected at most "
            f"{MAX_ROW_BYTES >> 20} MiB a row. Remedy: leave the largest column out with input_schema=, or leave the "
            "file out with match= or paths="
        )
    if texts > _UNEVEN_BYTES:
        most = min(most, _UNEVEN_ROWS)
    return int(np.clip(PIECE_BYTES / max(1.0, bytes_per_row), 1, most))


def _looked_up(file: IO[bytes], metadata: pq.FileMetaData, group: int, chunks: list[Any]) -> int:
    """An upper bound of the bytes that the dictionaries of column ``chunks`` decode to in the whole row group."""
    paths = [chunk.path_in_schema for chunk in chunks]
    reader: Any = pq.ParquetFile(file, metadata=metadata, read_dictionary=paths)
    names = [path for path in paths if reader.schema_arrow.get_field_index(path) >= 0]
    names += [path.partition(".")[0] for path in paths if path not in names]
    first = next(reader.iter_batches(1, row_groups=[group], columns=list(dict.fromkeys(names))), None)
    longest = 0 if first is None else max((_longest(column) for column in first.columns), default=0)
    return longest * sum(chunk.num_values for chunk in chunks)


def _longest(array: Any) -> int:
    """Bytes of the longest text in any dictionary inside ``array``."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        if not len(array.dictionary) or not (pa.types.is_string(kind.value_type) or pa.types.is_binary(kind.value_type)
                                             or pa.types.is_large_string(kind.value_type)
                                             or pa.types.is_large_binary(kind.value_type)):  # fmt: skip
            return 0
        return int(pc.max(pc.binary_length(array.dictionary)).as_py() or 0)
    if pa.types.is_struct(kind):
        return max((_longest(array.field(i)) for i in range(kind.num_fields)), default=0)
    if pa.types.is_map(kind):
        return max(_longest(array.keys), _longest(array.items))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _longest(array.values)
    return 0
