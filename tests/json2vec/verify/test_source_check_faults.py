"""Our own reader made wrong: the finding `source` names file, row and column, what was expected and what was got.

Every other finding believes the reader, so that predicting and verifying with the same wrong reader passes all of them.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from constant_predictions import predicted, source_finding

import json2vec as j2v
from json2vec.enums import Suffix
from json2vec.reading.formats import FORMATS, parquet
from json2vec.reading.formats.piece import Piece

ROWS = 60
DAY = datetime.date(2024, 2, 28)


def table() -> pa.Table:
    numbers = np.arange(ROWS)
    return pa.table({
        "id": pa.array(numbers + 2**53, pa.int64()), "other": pa.array(numbers * 3, pa.int64()),
        "amount": pa.array(numbers + 0.1), "text": pa.array([f"text {i} äöü" for i in numbers]),
        "day": pa.array([DAY + datetime.timedelta(days=int(i)) for i in numbers]),
    })  # fmt: skip


def write(path: Path, suffix: str) -> None:
    made = table()
    if suffix == "parquet":
        pq.write_table(made, path, row_group_size=20)
    elif suffix == "feather":
        pyarrow.feather.write_feather(made, path, chunksize=20)
    elif suffix == "orc":
        pyarrow.orc.write_table(made, path)
    elif suffix == "csv":
        pyarrow.csv.write_csv(made, path)
    elif suffix == "avro":
        fastavro = pytest.importorskip("fastavro")
        kinds = ["long", "long", "double", "string", {"type": "int", "logicalType": "date"}]
        fields = [{"name": name, "type": ["null", kind]} for name, kind in zip(made.column_names, kinds, strict=True)]
        schema = {"type": "record", "name": "r", "fields": fields}
        with open(path, "wb") as file:
            fastavro.writer(file, schema, made.to_pylist(), sync_interval=900)
    else:
        path.write_text("".join(json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in made.to_pylist()))


SUFFIXES = ["parquet", "feather", "orc", "csv", "ndjson", "avro"]


@pytest.fixture(params=SUFFIXES)
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    suffix = request.param
    if suffix == "orc":
        pytest.importorskip("pyorc")
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        write(tmp_path / "in" / f"{name}.{suffix}", suffix)
    return tmp_path / "in", suffix


def changed(name: str, change: Callable[[pa.Array], pa.Array]) -> Callable[[Piece], Piece]:
    def of(piece: Piece) -> Piece:
        at = piece.batch.schema.get_field_index(name)
        return dataclasses.replace(piece, batch=piece.batch.set_column(at, name, change(piece.batch.column(at))))

    return of


def shifted(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Every value one row late, the last on the first row."""
    whole = list(pieces)
    batch = pa.concat_batches([piece.batch for piece in whole])
    order = np.roll(np.arange(batch.num_rows), 1)
    yield Piece.of(batch.take(pa.array(order)), int(whole[0].rows[0]))


def swapped(piece: Piece) -> Piece:
    names = piece.batch.schema.names
    order = [names.index({"id": "other", "other": "id"}.get(name, name)) for name in names]
    columns = [piece.batch.column(i) for i in order]
    return dataclasses.replace(piece, batch=pa.RecordBatch.from_arrays(columns, names=names))


def narrowed(array: pa.Array) -> pa.Array:
    return array.cast(pa.float64()).cast(pa.float32(), safe=False).cast(pa.float64()).cast(array.type)


def later(array: pa.Array) -> pa.Array:
    days = array.cast(pa.date32())
    return pa.array([None if day is None else day + datetime.timedelta(days=1) for day in days.to_pylist()],
                    pa.date32()).cast(array.type)  # fmt: skip


def each(of: Callable[[Piece], Piece]) -> Callable[[Iterator[Piece]], Iterator[Piece]]:
    return lambda pieces: map(of, pieces)


def cut(array: pa.Array) -> pa.Array:
    return pyarrow.compute.utf8_slice_codeunits(array, 0, 6)


def merged(array: pa.Array) -> pa.Array:
    return array.cast(pa.int64()).cast(pa.float64(), safe=False).cast(pa.int64()).cast(array.type)


FAULTS = {
    "rows shifted by one": (shifted, "id"),
    "columns swapped": (each(swapped), "id"),
    "float32 in between": (each(changed("amount", narrowed)), "amount"),
    "texts cut to six characters": (each(changed("text", cut)), "text"),
    "dates a day later": (each(changed("day", later)), "day"),
    "ids through a double": (each(changed("id", merged)), "id"),
}


def broken(monkeypatch: pytest.MonkeyPatch, suffix: str, **functions: Any) -> None:
    one = FORMATS[Suffix(suffix)]
    monkeypatch.setitem(FORMATS, Suffix(suffix), dataclasses.replace(one, **functions))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kept", [True, ["other"]], ids=["all kept", "one kept"])
def test_values_that_our_reader_changed(
    shards: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, kept: Any
) -> None:
    root, suffix = shards
    change, column = FAULTS[fault]
    read = FORMATS[Suffix(suffix)].read
    broken(monkeypatch, suffix, read=lambda *given: change(read(*given)))
    out = predicted(root, suffix, tmp_path / "out", inputs=kept)
    report = j2v.verify_predictions(out, require=())
    assert [one.name for one in report.findings if one.passed is False] == ["source"], report.summary()
    assert not report.passed
    finding = report.finding("source")
    assert finding.counts["different"] > 5, finding
    example = next(one for one in finding.examples if f"column {column!r}" in one)
    assert f".{suffix} row " in example
    assert "expected" in example
    assert "got" in example


def test_rows_that_our_reader_lost(shards: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, suffix = shards
    one = FORMATS[Suffix(suffix)]
    broken(monkeypatch, suffix, count=lambda *given: (ROWS - 20, one.count(*given)[1]))
    finding = source_finding(predicted(root, suffix, tmp_path / "out"))
    assert finding.passed is False
    assert finding.counts["wrong_counts"] == 2
    assert f"a.{suffix}: expected 60 rows" in finding.examples[0]
    assert "got 40" in finding.examples[0]


def test_the_right_reader_passes(shards: tuple[Path, str], tmp_path: Path) -> None:
    root, suffix = shards
    out = predicted(root, suffix, tmp_path / "out", ranks=2, inputs=["id", "text"])
    for sample in (1, 64, None):
        finding = source_finding(out, source_sample=sample)
        assert finding.passed is True, finding
        assert finding.counts["counted"] == 2
        assert finding.counts["compared"] == (2 * ROWS if sample is None else sample)
        assert finding.counts["undecided"] == 0
    finding = source_finding(out, source_sample=0)
    assert finding.passed is None
    assert "source_sample=0" in finding.found


@pytest.mark.parametrize("lie", ["footer", "row group"])
def test_a_file_that_says_fewer_rows_than_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    """As our reader believed it before it compared what a file says twice."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.parquet"
    pq.write_table(pa.table({"id": list(range(6))}), path, compression="none")
    data = path.read_bytes()
    for old in (b"\x16\x0c\x19", b"\x16\x0c&\x08\x16")[: 1 if lie == "footer" else 2]:
        before, after = data.rsplit(old, 1)
        data = before + old.replace(b"\x0c", b"\x04") + after
    path.write_bytes(data)
    monkeypatch.setattr(parquet, "agree", lambda *given: None)
    declared = FORMATS[Suffix.parquet].count
    if lie == "footer":

        def count(file: Any, *given: Any) -> Any:
            return pq.read_metadata(file).num_rows, declared(file, *given)[1]

        broken(monkeypatch, "parquet", count=count)
    finding = source_finding(predicted(tmp_path / "in", "parquet", tmp_path / "out"))
    assert finding.passed is False
    assert finding.examples == ("a.parquet: expected 6 rows (DuckDB), got 2 (ours)",)


def test_int96_that_wraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """9999-12-31 as nanoseconds comes out as 1816."""
    (tmp_path / "in").mkdir()
    days = pa.array([datetime.datetime(9999, 12, 31), datetime.datetime(2024, 1, 1)], pa.timestamp("us"))
    pq.write_table(pa.table({"until": days}), tmp_path / "in" / "a.parquet", use_deprecated_int96_timestamps=True)
    monkeypatch.setattr(parquet, "checked_int96", lambda file, metadata, batches, *rest: batches)
    finding = source_finding(predicted(tmp_path / "in", "parquet", tmp_path / "out"))
    assert finding.passed is False
    assert "a.parquet row 0 in rank-0.parquet: column 'until': expected 253402214400000000000 ns" in finding.examples[0]
    assert finding.counts["different"] == 1
