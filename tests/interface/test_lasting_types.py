"""What was verified reads the same in pyarrow, polars and DuckDB: over all Arrow types, alone and nested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arrow_types
import duckdb
import lightning.pytorch as lit
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from predicted import QUIET

import json2vec as j2v
from json2vec.errors import ReadError
from json2vec.reading.lasting import MAX_LISTS, Refused, lasting_type
from json2vec.reading.limits import MAX_DEPTH
from json2vec.reading.plain import plain
from json2vec.reading.row_hash import row_hash
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

DEEPER = ("date64", "timestamp[s, None]", "timestamp[s, +05:30]", "string_view", "null", "fixed_size_binary[0]",
          "decimal128(5, -2)", "dictionary", "duration[s]", "uint64")  # fmt: skip


def _columns() -> dict[str, pa.Array]:
    """Three values of every type, of every type in every other, and of some in two others."""
    made: dict[str, pa.Array] = {}
    for name, array in arrow_types.flat().items():
        made[name] = array
        for outer, inner in arrow_types.nested(array).items():
            made[f"{outer} of {name}"] = inner
            if name in DEEPER:
                made |= {f"{far} of {outer} of {name}": one for far, one in arrow_types.nested(inner).items()}
    made["struct of nothing"] = pa.array([{}, None, {}], pa.struct([]))
    return made


COLUMNS = _columns()
REFUSED = sorted(name for name, array in COLUMNS.items() if isinstance(lasting_type(array.type), Refused))
HASHLESS = ("interval", "union")


def _write(path: Path, columns: dict[str, pa.Array]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": [1, 2, 3]} | columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _predict(root: Path, out: Path, **options: Any) -> j2v.Model:
    fields = j2v.Number("id"), j2v.Number("y", target=True)
    model = j2v.Model.from_schema(*fields, d_model=8, n_layers=1, n_heads=2).eval()
    data = j2v.StreamingDataModule(model=model, root=str(root), suffix="feather", predict=".", **options)
    writer = j2v.Writer(out, max_rejected=3, inputs=options.pop("inputs", True))
    lit.Trainer(callbacks=[writer], **QUIET).predict(model=model, datamodule=data, return_predictions=False)
    return model


def _hashes(column: Any) -> list[int]:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return row_hash(pa.RecordBatch.from_arrays([plain(array)], ["v"])).tolist()


def _counted(kind: Any) -> Any:
    """``kind`` as DuckDB shows it: Parquet has no durations, so they are the whole numbers that they are kept as."""
    types = pa.types
    if types.is_duration(kind):
        return pa.int64()
    if types.is_struct(kind):
        return pa.struct([field.with_type(_counted(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_counted(kind.key_type), _counted(kind.item_type))
    if types.is_nested(kind):
        return (pa.large_list if types.is_large_list(kind) else pa.list_)(_counted(kind.value_type))
    return kind


def test_what_was_verified_reads_the_same_in_three_readers(tmp_path: Path) -> None:
    kept = {name: array for name, array in COLUMNS.items() if name not in REFUSED and "of nothing" not in name}
    assert len(kept) > 600
    _write(tmp_path / "in" / "a.feather", kept)
    model = _predict(tmp_path / "in", tmp_path / "out")
    report = j2v.verify_predictions(tmp_path / "out", model=model)
    assert report.passed, report
    file = str(tmp_path / "out" / "rank-0.parquet")
    arrow = pq.read_table(file)["inputs"].combine_chunks()
    polars = j2v.read_predictions(tmp_path / "out").select("inputs").collect()["inputs"].struct.unnest()
    with duckdb.connect(config={"threads": 1}) as connection:
        duck = connection.sql(f"SELECT unnest(inputs) FROM read_parquet('{file}')").to_arrow_table()
    positions = {name: i for i, name in enumerate(["id", *kept])}  # DuckDB takes names that differ in case for one
    different: dict[str, dict[str, str]] = {}
    for name, array in kept.items():
        expected = _hashes(array)
        stored = arrow.field(name)
        found = {"pyarrow": stored, "polars": polars[name].to_arrow(), "duckdb": duck.column(positions[name])}
        counted = _hashes(stored.cast(_counted(stored.type))) if _counted(stored.type) != stored.type else expected
        for reader, column in found.items():
            if _hashes(column) != (counted if reader == "duckdb" else expected):
                different.setdefault(name, {})[reader] = f"{column.type} {column.slice(0, 3)}"[:200]
    assert not different


@pytest.mark.parametrize("name", REFUSED)
def test_a_type_that_does_not_last_is_refused_before_the_first_row(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "a.feather", {"fine": pa.array([1, 2, 3]), "odd": COLUMNS[name]})
    with pytest.raises(ReadError, match=r"a\.feather: column 'odd.*Remedy: ") as caught:
        snapshot_files(LocalStore(tmp_path), "feather")
    assert "input_schema=" in str(caught.value)
    # The remedy works.
    schema = pa.schema([("id", pa.int64()), ("fine", pa.int64())])
    assert snapshot_files(LocalStore(tmp_path), "feather", input_schema=schema).rows == 3


def test_only_these_are_refused() -> None:
    assert {name.rpartition(" of ")[2] for name in REFUSED} == {
        "month_day_nano_interval", "dense_union", "sparse_union", "timestamp[us, Mars/Olympus]", "decimal128(38, -2)",
    }  # fmt: skip


def test_a_struct_of_nothing_is_refused_where_it_would_be_kept(tmp_path: Path) -> None:
    _write(tmp_path / "in" / "a.feather", {"odd": COLUMNS["struct of nothing"]})
    with pytest.raises(j2v.SchemaError, match=r"inputs\.odd.*Remedy"):
        _predict(tmp_path / "in", tmp_path / "out")


def _deep(kind: pa.DataType, levels: int, lists: bool) -> pa.DataType:
    for _ in range(levels):
        kind = pa.list_(kind) if lists else pa.struct([("a", kind)])
    return kind


@pytest.mark.parametrize("lists", [True, False])
def test_depth_is_bounded_by_what_all_readers_read(tmp_path: Path, lists: bool) -> None:
    most = MAX_LISTS if lists else MAX_DEPTH
    value: Any = 7
    for _ in range(most):
        value = [value] if lists else {"a": value}
    array = pa.array([value, None, value], _deep(pa.int64(), most, lists))
    _write(tmp_path / "in" / "a.feather", {"deep": array})
    model = _predict(tmp_path / "in", tmp_path / "out")
    assert j2v.verify_predictions(tmp_path / "out", model=model).passed
    file = str(tmp_path / "out" / "rank-0.parquet")
    with duckdb.connect(config={"threads": 1}) as connection:
        duck = connection.sql(f"SELECT unnest(inputs) FROM read_parquet('{file}')").to_arrow_table()["deep"]
    polars = j2v.read_predictions(tmp_path / "out").select("inputs").collect()["inputs"].struct.field("deep")
    assert _hashes(array) == _hashes(duck) == _hashes(polars.to_arrow())
    assert isinstance(lasting_type(_deep(pa.int64(), most + 1, lists)), Refused)


def test_a_folder_of_before_is_verified_as_it_is(tmp_path: Path) -> None:
    """Rank files with an offset as zone and decimals of 256 bits were written and verified; they still are."""
    from json2vec.verify.input_checks import unequal_rows

    for kept in (pa.array([1, None], pa.timestamp("us", "+05:30")), pa.array([1, None], pa.decimal256(20, 2))):
        for source in (kept, kept.cast(lasting_type(kept.type))):
            assert unequal_rows(kept, source) is None
            other = pa.concat_arrays([source.slice(1), source.slice(0, 1)])
            assert np.asarray(unequal_rows(kept, other)).all()


def _bad_text(where: str) -> pa.Array:
    offsets = pa.py_buffer(np.array([0, 1, 5, 6], np.int32).tobytes())
    texts = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"acaf\xe9b")])
    if where == "list":
        return pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), texts)
    return pa.StructArray.from_arrays([texts], ["x"]) if where == "struct" else texts


BAD = {
    "text": _bad_text(""), "text in a list": _bad_text("list"), "text in a struct": _bad_text("struct"),
    "map": pa.array([[("k", 1)], [("k", 1), ("k", 2)], None], pa.map_(pa.string(), pa.int64())),
    "clock": pa.array([0, 86_400_000, 5], pa.int32()).view(pa.time32("ms")),
    "moment": pa.array([0, 2**60, 5], pa.int64()).view(pa.timestamp("ms")),
    "date64": pa.array([0, 86_400_005, None], pa.int64()).view(pa.date64()),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_value_that_does_not_last_is_named_or_set_aside(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "in" / "a.feather", {"odd": BAD[name]})
    with pytest.raises(ReadError, match=r"a\.feather: row 1: column 'odd' holds .*Remedy: "):
        _predict(tmp_path / "in", tmp_path / "raised")
    model = _predict(tmp_path / "in", tmp_path / "out", on_bad_row="quarantine")
    assert j2v.verify_predictions(tmp_path / "out", model=model).passed
    rejected = pq.read_table(tmp_path / "out" / "rejected-0.parquet").to_pylist()
    assert [row["row"] for row in rejected] == [1]
    assert "'odd' holds" in rejected[0]["reason"]
    assert j2v.read_predictions(tmp_path / "out").collect().height == 2
