"""Snapshots of real folders: what counts as a shard, how many rows, which schema, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from snapped import snap

from json2vec.errors import ReadError, SnapshotChanged
from json2vec.reading.snapshot import (
    Snapshot,
    check_unchanged,
    list_shards,
    listing_digest,
    snapshot_frame,
)
from json2vec.storage.local import LocalStore


def write(path: Path, rows: list[dict[str, Any]], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_struct_array(pa.array(rows)), path, **options)


def test_files_are_sorted_counted_and_unified(tmp_path: Path) -> None:
    write(tmp_path / "dt=2/b.parquet", [{"a": 1, "n": {"x": 1}}] * 3)
    write(tmp_path / "dt=1/c.parquet", [{"late": "z", "a": 1.5, "n": {"y": [None]}}])
    write(tmp_path / "dt=10/a.parquet", [{"n": {"y": ["text"]}}] * 2)
    made = snap(tmp_path)
    assert made.files["path"].to_pylist() == ["dt=1/c.parquet", "dt=10/a.parquet", "dt=2/b.parquet"]
    assert made.starts.tolist() == [0, 1, 3, 6]
    assert made.rows == 6
    kind = pa.struct([("y", pa.list_(pa.string())), ("x", pa.int64())])
    assert made.schema.equals(pa.schema([("late", pa.string()), ("a", pa.float64()), ("n", kind)]))
    assert [made.locate(row) for row in (0, 1, 2, 3, 5)] == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 2)]


def test_round_trip_and_digests(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [{"a": 1}])
    made = snap(tmp_path)
    again = Snapshot.from_json(json.loads(json.dumps(made.to_json())))
    assert again == made
    assert again.digest == made.digest
    assert again.files.equals(made.files)
    assert made.listing_digest == listing_digest(made.suffix, list_shards(LocalStore(tmp_path), "parquet"))
    os.utime(tmp_path / "a.parquet", ns=(1, 1))
    touched = snap(tmp_path)
    assert touched.digest != made.digest
    assert touched.listing_digest != made.listing_digest
    with pytest.raises(SnapshotChanged, match=r"a\.parquet changed"):
        check_unchanged(made, LocalStore(tmp_path))
    check_unchanged(touched, LocalStore(tmp_path))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(SnapshotChanged, match=r"a\.parquet is gone"):
        check_unchanged(touched, LocalStore(tmp_path))


def test_the_digest_does_not_depend_on_the_root_or_chunks(tmp_path: Path) -> None:
    for root in ("one", "two"):
        for name in "ab":
            write(tmp_path / root / f"{name}.parquet", [{"a": 1}])
            os.utime(tmp_path / root / f"{name}.parquet", ns=(5, 5))
    one, two = snap(tmp_path / "one"), snap(tmp_path / "two")
    assert one.digest == two.digest
    assert one != two
    halves = pa.concat_tables([one.files.slice(0, 1), one.files.slice(1)])
    assert Snapshot(one.root, one.suffix, halves, one.schema).digest == one.digest


def test_odd_names_just_work(tmp_path: Path) -> None:
    names = ["a#b.parquet", "a?b.parquet", "a b.parquet", "ü.parquet", "a%2Fb.parquet", "%41.parquet"]
    names += ["x=1/y&z.parquet"]
    for name in names:
        write(tmp_path / name, [{"a": 1}])
    assert snap(tmp_path).files["path"].to_pylist() == sorted(names)


def test_hidden_and_temporary_files_are_no_shards(tmp_path: Path) -> None:
    for name in ("a.parquet", "_b.parquet", ".c.parquet", "_temporary/d.parquet", "e.parquet.tmp"):
        write(tmp_path / name, [{"a": 1}])
    assert snap(tmp_path).files["path"].to_pylist() == ["a.parquet"]
    assert snap(tmp_path, match="parquet").files["path"].to_pylist() == ["a.parquet"]
    assert snap(tmp_path, paths=["_b.parquet", "e.parquet.tmp"]).rows == 2


def test_a_pattern_is_searched_in_the_full_path(tmp_path: Path) -> None:
    write(tmp_path / "predict/a.parquet", [{"a": 1}])
    write(tmp_path / "train/a.data", [{"a": 1}] * 2)
    assert snap(tmp_path, match=r"/predict/.*\.parquet$").rows == 1
    assert snap(tmp_path, match=rf"^{tmp_path}/train/").rows == 2
    with pytest.raises(ReadError, match=r"no file below .* fits match='/test/'"):
        snap(tmp_path, match="/test/")
    with pytest.raises(ReadError, match="does not exist"):
        snap(tmp_path / "absent")
    with pytest.raises(ReadError, match=r"gone.parquet does not exist"):
        snap(tmp_path, paths=["gone.parquet"])


def test_files_without_rows_are_a_snapshot(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "a.parquet")
    (tmp_path / "b.ndjson").write_text("\n  \n")
    assert (snap(tmp_path).rows, snap(tmp_path, "ndjson").rows) == (0, 0)


@pytest.mark.parametrize("suffix", ["parquet", "feather", "orc", "csv", "ndjson", "json"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01PAR1 not really\n\xff\xfe" * 20])
def test_unreadable_files_are_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"bad.{suffix}").write_bytes(content)
    with pytest.raises(ReadError, match=rf"bad\.{suffix}.*Remedy"):
        snap(tmp_path, suffix)


@pytest.mark.parametrize("suffix", ["parquet", "feather", "orc"])
def test_truncated_files_are_named(tmp_path: Path, suffix: str) -> None:
    data = pa.table({"a": list(range(1000))})
    path = tmp_path / f"cut.{suffix}"
    {"parquet": pq.write_table, "feather": pyarrow.feather.write_feather, "orc": pyarrow.orc.write_table}[suffix](
        data, str(path)
    )
    assert snap(tmp_path, suffix).rows == 1000
    whole = path.read_bytes()
    for size in (4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ReadError, match=rf"cut\.{suffix}"):
            snap(tmp_path, suffix)


def test_types_that_clash_name_file_and_column(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [{"x": 1, "c": "text"}])
    write(tmp_path / "b.parquet", [{"x": 1, "c": 5}])
    with pytest.raises(ReadError, match=r"b\.parquet: column 'c' has type int64; earlier .* string"):
        snap(tmp_path)
    chosen = snap(tmp_path, input_schema=pa.schema([("x", pa.int64())]))
    assert chosen.schema.names == ["x"]


def test_storage_types_are_unified_away(tmp_path: Path) -> None:
    pl.DataFrame({"c": ["x", "y"]}, schema={"c": pl.Categorical}).write_parquet(tmp_path / "a.parquet")
    required = pa.schema([pa.field("c", pa.string(), nullable=False)])
    pq.write_table(pa.table({"c": ["z"]}, schema=required), tmp_path / "b.parquet")
    field = snap(tmp_path).schema.field("c")
    assert field.nullable
    assert pa.types.is_string(field.type) or pa.types.is_large_string(field.type)


def test_frames(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, 2], "t": ["x", None], "l": [[1], []]})
    made = snapshot_frame(frame)
    assert (made.root, made.rows, made.files["path"].to_pylist()) == ("frame:predict", 2, ["frame:predict"])
    assert snapshot_frame(frame.lazy()).digest == made.digest
    assert snapshot_frame(pl.concat([frame[:1], frame[1:]], rechunk=False)).digest == made.digest
    assert snapshot_frame(frame.with_columns(a=pl.Series([1, 3]))).digest != made.digest


def test_many_files_stay_columns() -> None:
    n = 100_000
    files = pa.table(
        {"path": [f"dt=1/{i:07}.parquet" for i in range(n)], "size": [10] * n, "version": ["1"] * n, "rows": [3] * n}
    )
    made = Snapshot("/root", "parquet", files, pa.schema([("a", pa.int64())]))  # type: ignore[arg-type]
    assert made.rows == 3 * n
    assert made.locate(3 * n - 1) == (n - 1, 2)
    assert Snapshot.from_json(made.to_json()).digest == made.digest
