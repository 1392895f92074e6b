"""Feather by polars, which has an implementation of Arrow IPC of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from json2vec.verify.same_value import plain_value
from json2vec.verify.second_readers.nearby import NearbyFile, NotCompared
from json2vec.verify.second_readers.reader import Options, Rows, SecondReader, spans


def _collected(file: NearbyFile, *steps: Callable[[Any], Any]) -> Any:
    import polars as pl

    try:
        frame = pl.scan_ipc(file.whole(), glob=False, hive_partitioning=False)
        for step in steps:
            frame = step(frame)
        return frame.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as exc:
        raise NotCompared(f"polars: {str(exc).splitlines()[0]}") from exc


def count_feather(file: NearbyFile, options: Options) -> int:
    import polars as pl

    return _collected(file, lambda frame: frame.select(pl.len())).item()


def rows_feather(file: NearbyFile, rows: Sequence[int], options: Options) -> Rows:
    values: dict[int, dict[str, Any]] = {}
    for start, stop in spans(rows):
        values |= framed_rows(_collected(file, lambda frame, a=start, n=stop - start: frame.slice(a, n)), start)
    return Rows(values)


def framed_rows(frame: Any, first: int) -> dict[int, dict[str, Any]]:
    """The rows of a polars frame as plain values; the first has number ``first``."""
    table = frame.to_arrow()
    columns = dict(zip(table.schema.names, table.columns, strict=True))
    return {first + i: {name: plain_value(column[i]) for name, column in columns.items()}
            for i in range(table.num_rows)}  # fmt: skip


READER = SecondReader("polars", count_feather, rows_feather, places=4)
