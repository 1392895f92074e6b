"""INT96 times come out as they are, or the row is named."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from json2vec.errors import ReadError
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

FAR, NEAR, OLD = dt.datetime(9999, 12, 31, 2), dt.datetime(2024, 2, 29, 1), dt.datetime(1600, 1, 1)


def read(root: Path, schema: pa.Schema | None = None) -> list[Any]:
    store = LocalStore(root)
    made = snapshot_files(store, "parquet", input_schema=schema)
    batches = list(read_rows(made, store, [(0, made.rows)], batch_size=7))
    return [value for batch in batches for value in batch.inputs["v"].to_pylist()]


def write(path: Path, values: list[Any], kind: pa.DataType, **options: Any) -> None:
    table = pa.table({"v": pa.array(values, kind), "other": [1] * len(values)})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=False, **options)


WRAPS = [
    (lambda v: v, lambda kind: kind),
    (lambda v: [NEAR, v], pa.list_),
    (lambda v: {"a": v}, lambda kind: pa.struct([("a", kind)])),
    (lambda v: [{"a": [None, v]}], lambda kind: pa.list_(pa.struct([("a", pa.list_(kind))]))),
    (lambda v: [("k", v)], lambda kind: pa.map_(pa.string(), kind)),
]


@pytest.mark.parametrize(("wrap", "typed"), WRAPS)
@pytest.mark.parametrize("far", [FAR, OLD])
def test_a_time_beyond_nanoseconds_names_its_row_and_is_read_as_microseconds(
    tmp_path: Path, wrap: Any, typed: Any, far: dt.datetime
) -> None:
    values = [wrap(NEAR), None, wrap(NEAR), wrap(far)]
    write(tmp_path / "a.parquet", values, typed(pa.timestamp("us")), row_group_size=3)
    with pytest.raises(ReadError, match=r"a\.parquet: row 3: column 'v' holds .*timestamp\[ns\].*Remedy.*'us'"):
        read(tmp_path)
    assert read(tmp_path, pa.schema([("v", typed(pa.timestamp("us")))])) == values


def test_times_within_nanoseconds_keep_their_type(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [NEAR, None], pa.timestamp("us"))
    made = snapshot_files(LocalStore(tmp_path), "parquet")
    assert made.schema.field("v").type == pa.timestamp("ns")
    assert read(tmp_path) == [NEAR, None]


def test_far_dates_are_dates_and_nanoseconds_no_microseconds(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [dt.datetime(9999, 12, 31), None], pa.timestamp("us"))
    assert read(tmp_path, pa.schema([("v", pa.date32())])) == [dt.date(9999, 12, 31), None]
    write(tmp_path / "a.parquet", [1000, 1001], pa.timestamp("ns"))
    with pytest.raises(ReadError, match=r"a\.parquet: row 1: column 'v'.*timestamp\[us\].*Remedy.*'ns'"):
        read(tmp_path, pa.schema([("v", pa.timestamp("us"))]))


TIMES = st.one_of(  # around the ends of nanoseconds, too
    st.none(), st.datetimes(), st.datetimes(dt.datetime(2262, 4, 11), dt.datetime(2262, 4, 12)),
    st.datetimes(dt.datetime(1677, 9, 21), dt.datetime(1677, 9, 22)),
)  # fmt: skip


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(TIMES, min_size=1, max_size=20), group=st.integers(1, 9))
def test_any_times(tmp_path_factory: pytest.TempPathFactory, values: list[Any], group: int) -> None:
    root = tmp_path_factory.mktemp("int96")
    write(root / "a.parquet", values, pa.timestamp("us"), row_group_size=group)
    assert read(root, pa.schema([("v", pa.timestamp("us"))])) == values
    epoch = dt.datetime(1970, 1, 1)
    nanos = [None if v is None else (v - epoch) // dt.timedelta(microseconds=1) * 1000 for v in values]
    bad = [row for row, n in enumerate(nanos) if n is not None and not -(2**63) <= n < 2**63]
    if bad:
        with pytest.raises(ReadError, match=rf"row {bad[0]}: "):
            read(root)
    else:
        store = LocalStore(root)
        (batch,) = read_rows(snapshot_files(store, "parquet"), store, [(0, len(values))], batch_size=50)
        assert batch.inputs["v"].cast(pa.int64()).to_pylist() == nanos
