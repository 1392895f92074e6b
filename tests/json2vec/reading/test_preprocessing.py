"""Preprocessors drop and multiply rows; whatever they make is told by file and row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pytest
from preprocessed import run, where
from read_back import folder, read

from json2vec.errors import ProcessorError
from json2vec.processors import (
    Preprocessor,
)
from json2vec.reading.preprocessing import PreprocessorRun
from json2vec.reading.row_batch import RowBatch
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore


def parts(batch: RowBatch) -> list[tuple]:
    keys = ("row", "part", "parts")
    rows = zip(batch.source.to_pylist(), batch.inputs.to_pylist(), batch.observations.to_pylist(), strict=True)
    return [(*(source[key] for key in keys), row["id"], made) for source, row, made in rows]


@pytest.mark.parametrize("columnar", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_preprocessors_drop_and_multiply(tmp_path: Path, columnar: bool, size: int) -> None:
    """Row i gives i % 4 rows."""
    folder(tmp_path, "parquet", [20, 10])

    def by_row(row: dict) -> list[dict]:
        return [{"o": row["id"] * 10 + k} for k in range(row["id"] % 4)]

    def by_column(batch: pa.RecordBatch) -> pl.DataFrame:
        frame = pl.DataFrame({"__row__": range(batch.num_rows), "id": batch["id"].to_pylist()})
        frame = frame.with_columns(k=pl.int_ranges(0, pl.col("id") % 4)).explode("k").drop_nulls()
        return frame.select("__row__", o=pl.col("id") * 10 + pl.col("k"))

    function = Preprocessor(by_column, columnar=True) if columnar else Preprocessor(by_row, yields=True)
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")
    ids = [*range(20), *range(1000, 1010)]
    batches = read(made, store, preprocessor=function, batch_size=size)
    found = [row for batch in batches for row in parts(batch)]
    assert found == [(i % 1000, k, i % 4, i, {"o": i * 10 + k}) for i in ids for k in range(i % 4)]
    assert [number for batch in batches for number in range(*batch.span)] == list(range(30))
    rejected = pa.concat_tables([batch.rejected.to_table() for batch in batches if batch.rejected is not None])
    assert rejected["row"].to_pylist() == [i % 1000 for i in ids if i % 4 == 0]
    assert set(rejected["reason"].to_pylist()) == {"dropped"}
    for batch in batches:  # the rows made of one input row are never cut apart
        assert len(batch) <= max(size, 3)
        kept = [int(i) for i in ids[slice(*batch.span)] if i % 4]
        assert [row[3] for row in parts(batch) if row[1] == 0] == kept
        gone = [] if batch.rejected is None else batch.rejected.row.to_pylist()
        assert gone == [i % 1000 for i in ids[slice(*batch.span)] if i % 4 == 0]


def test_all_rows_dropped(tmp_path: Path) -> None:
    folder(tmp_path, "parquet", [5])
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")
    (batch,) = read(made, store, preprocessor=Preprocessor(lambda row: None))
    assert (len(batch), batch.span, len(batch.rejected or [])) == (0, (0, 5), 5)
    assert batch.inputs.schema.equals(made.schema)


def test_preprocessor_errors_name_file_and_row(tmp_path: Path) -> None:
    folder(tmp_path, "parquet", [3, 5])
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "parquet")

    def fails(row: dict) -> dict:
        return {"o": 1 // (row["id"] - 1002)}

    with pytest.raises(ProcessorError, match=r"part#1 \?\.parquet: row 2: preprocessor .* ZeroDivisionError"):
        read(made, store, preprocessor=Preprocessor(fails))


def test_rows_are_mapped_and_none_drops() -> None:
    rows, origin = run(lambda row: {"b": row["a"] * 2} if row["a"] != 2 else None, [{"a": 1}, {"a": 2}, {"a": 3}])
    assert (rows, origin) == ([{"b": 2}, {"b": 6}], [0, 2])


def test_generators_and_lists_give_several_rows() -> None:
    def generate(row: dict) -> Any:
        for i in range(row["n"]):
            yield {"i": i}

    assert run(generate, [{"n": 2}, {"n": 0}, {"n": 1}], yields=True) == ([{"i": 0}, {"i": 1}, {"i": 0}], [0, 0, 2])
    as_list = run(lambda row: [{"i": i} for i in range(row["n"])], [{"n": 2}], yields=True)
    assert as_list == ([{"i": 0}, {"i": 1}], [0, 0])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda row: [row], r"row 100: .*gave list; expected a dict.*yields=True"),
        (lambda row: 1 / 0, r"row 100: .*raised ZeroDivisionError"),
        (lambda row: {"x": 1 if row["a"] < 3 else "text"}, r"row 102: .*does not fit its schema.*schema="),
    ],
)
def test_what_a_row_may_not_be(function: Any, message: str) -> None:
    with pytest.raises(ProcessorError, match=message):
        run(function, [{"a": 1}, {"a": 2}, {"a": 3}])


def test_later_rows_have_to_fit_the_first_ones() -> None:
    made = PreprocessorRun(Preprocessor(lambda row: row))
    made(pa.RecordBatch.from_pylist([{"a": 1, "b": None}]), where)
    later, _ = made(pa.RecordBatch.from_pylist([{"a": 2, "b": "known now"}]), where)
    assert later.to_pylist() == [{"a": 2, "b": "known now"}]
    with pytest.raises(ProcessorError, match=r"row 101.*schema="):
        made(pa.RecordBatch.from_pylist([{"a": 2.0, "b": None}, {"a": 2.5, "b": None}]), where)
    with pytest.raises(ProcessorError, match=r"row 100.*'c', which no earlier row had.*schema="):
        made(pa.RecordBatch.from_pylist([{"c": 1}]), where)


def test_a_declared_schema_holds_from_the_start() -> None:
    schema = pa.schema([("a", pa.float64()), ("b", pa.string())])
    made = PreprocessorRun(Preprocessor(lambda row: row, schema=schema))
    batch, _ = made(pa.RecordBatch.from_pylist([{"a": 1}]), where)
    assert batch.schema == schema
    with pytest.raises(ProcessorError, match=r"'c', which schema= lacks"):
        made(pa.RecordBatch.from_pylist([{"c": 1}]), where)


def test_columnar() -> None:
    def doubled(batch: pa.RecordBatch) -> Any:
        return pa.table({"b": pa.compute.multiply(batch["a"], 2)})  # type: ignore[attr-defined]

    assert run(doubled, [{"a": 1}, {"a": 2}], columnar=True) == ([{"b": 2}, {"b": 4}], [0, 1])
    unsorted = pl.DataFrame({"x": ["c", "a", "b"], "__row__": [2, 0, 2]})
    assert run(lambda batch: unsorted, [{"a": 1}] * 3, columnar=True) == (
        [{"x": "a"}, {"x": "c"}, {"x": "b"}],
        [0, 2, 2],
    )


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (pa.table({"x": [1]}), "made 1 rows of 2.*__row__"),
        (pa.table({"x": [1], "__row__": [2]}), "names rows 2 to 2; expected 0 to 1"),
        (pa.table({"x": [1], "__row__": [None]}), "expected int64 without nulls"),
        ([{"x": 1}], "returned list"),
    ],
)
def test_columnar_misuse(result: Any, message: str) -> None:
    with pytest.raises(ProcessorError, match=message):
        run(lambda batch: result, [{"a": 1}, {"a": 2}], columnar=True)
