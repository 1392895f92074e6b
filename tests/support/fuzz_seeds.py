"""Small files of every format, by every writer at hand, and what another reader sees in a file of each format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq

N = 40
ROWS = [
    {"id": i, "x": i * 0.5 if i % 7 else None, "label": f"label-{i % 5}" if i % 3 else None, "flag": i % 2 == 0,
     "items": [{"price": j * 1.5, "name": f"n{j}"} for j in range(i % 4)], "tags": ["a", "b"][: i % 3]}
    for i in range(N)
]  # fmt: skip
FLAT = [{key: row[key] for key in ("id", "x", "label", "flag")} for row in ROWS]
NESTED, PLAIN = pa.Table.from_pylist(ROWS), pa.Table.from_pylist(FLAT)


def parquet(table: pa.Table, **options: Any) -> Callable[[Path], None]:
    return lambda path: pq.write_table(table, path, row_group_size=16, **options)


def duckdb_parquet(path: Path) -> None:
    import duckdb

    flat = PLAIN  # noqa: F841 - DuckDB finds it by its name
    duckdb.sql("select * from flat").write_parquet(str(path))


def fastparquet(path: Path) -> None:
    import fastparquet as library
    import pandas as pd

    library.write(str(path), pd.DataFrame({"id": range(N), "label": [f"l{i % 4}" for i in range(N)]}))


def polars(method: str, **options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import polars as pl

        getattr(pl.DataFrame(FLAT), method)(path, **options)

    return write


def feather(table: pa.Table, **options: Any) -> Callable[[Path], None]:
    return lambda path: pa.feather.write_feather(table, str(path), chunksize=16, **options)


def orc(**options: Any) -> Callable[[Path], None]:
    return lambda path: pa.orc.write_table(NESTED, str(path), **options)


def pyorc(path: Path) -> None:
    import pyorc as library

    with open(path, "wb") as file, library.Writer(file, "struct<id:int,label:string>") as writer:
        writer.writerows([(row["id"], row["label"]) for row in ROWS])


def avro(codec: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import fastavro

        fields: list[Any] = [{"name": "id", "type": "long"}, {"name": "x", "type": ["null", "double"]},
                             {"name": "label", "type": ["null", "string"]}]  # fmt: skip
        with open(path, "wb") as file:
            schema = {"type": "record", "name": "row", "fields": fields}
            # No booleans: of a byte that is neither 0 nor 1 readers make different ones.
            rows = [{key: row[key] for key in ("id", "x", "label")} for row in FLAT]
            fastavro.writer(file, schema, rows, codec=codec, sync_interval=300)

    return write


def ndjson(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def csv_text(path: Path) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(FLAT[0]))
        writer.writeheader()
        writer.writerows(FLAT)


SEEDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "parquet snappy": ("parquet", parquet(NESTED)),
    "parquet none, plain, v1": ("parquet", parquet(PLAIN, compression="none", use_dictionary=False)),
    "parquet zstd, pages v2, checksums": (
        "parquet", parquet(NESTED, compression="zstd", data_page_version="2.0", write_page_checksum=True)
    ),
    "parquet gzip, pages v2": ("parquet", parquet(PLAIN, compression="gzip", data_page_version="2.0")),
    "parquet lz4, deltas": (
        "parquet",
        parquet(PLAIN.select(["id", "label"]), compression="lz4", use_dictionary=False,
                column_encoding={"id": "DELTA_BINARY_PACKED", "label": "DELTA_BYTE_ARRAY"}),
    ),
    "parquet byte streams": (
        "parquet", parquet(PLAIN.select(["x"]), use_dictionary=False, column_encoding={"x": "BYTE_STREAM_SPLIT"})
    ),
    "parquet duckdb": ("parquet", duckdb_parquet),
    "parquet polars": ("parquet", polars("write_parquet", row_group_size=16)),
    "parquet fastparquet": ("parquet", fastparquet),
    "feather": ("feather", feather(NESTED, compression="uncompressed")),
    "feather lz4": ("feather", feather(NESTED, compression="lz4")),
    "feather zstd": ("feather", feather(PLAIN, compression="zstd")),
    "feather polars": ("feather", polars("write_ipc")),
    "orc": ("orc", orc(compression="uncompressed")),
    "orc zlib": ("orc", orc(compression="zlib")),
    "orc pyorc": ("orc", pyorc),
    "avro": ("avro", avro("null")),
    "avro deflate": ("avro", avro("deflate")),
    "ndjson": ("ndjson", ndjson),
    "ndjson polars": ("ndjson", polars("write_ndjson")),
    "csv": ("csv", csv_text),
    "csv polars": ("csv", polars("write_csv")),
}  # fmt: skip


def reference(suffix: str, path: Path) -> list[Any]:
    """The rows that another reader sees, or whatever it raises."""
    import polars as pl

    if suffix == "parquet":
        return pl.read_parquet(path, use_pyarrow=False, glob=False).to_dicts()
    if suffix == "feather":
        return pl.read_ipc(path).to_dicts()
    if suffix == "avro":
        return pl.read_avro(path).to_dicts()
    if suffix == "orc":
        import pyorc as library

        with open(path, "rb") as file:
            return list(library.Reader(file, struct_repr=library.StructRepr.DICT))
    if suffix == "ndjson":
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
        return [json.loads(line) for line in lines if line.strip()]
    with open(path, newline="", encoding="utf-8-sig") as file:
        return [{"row": i} for i, record in enumerate(r for r in csv.reader(file, strict=True) if r) if i]
