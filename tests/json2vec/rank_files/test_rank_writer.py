"""`RankFiles`, markers and commits."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import json2vec as j2v
from json2vec.errors import AlignmentError, IncompletePredictions, ProcessorError, SchemaError
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.layout import fit_values, rank_schema, schema_digest, stored_type
from json2vec.rank_files.manifest import FOOTER_KEY, Footer, Manifest, Marker, merge_spans, parse_document, parse_name
from json2vec.rank_files.rank_writer import RankFiles
from json2vec.reading.plan import Plan
from json2vec.reading.row_batch import source_array
from json2vec.reading.snapshot import snapshot_frame
from json2vec.storage.local import LocalStore

KIND = pa.struct([("record/x", pa.struct([("content", pa.float32())]))])


def table_of(rows: int) -> pa.Table:
    return pa.table({"id": pa.array(range(rows), pa.int64())})


def batch_of(plan: Plan, start: int, stop: int) -> tuple[pa.RecordBatch, pa.StructArray, pa.StructArray]:
    n = stop - start
    content = pa.StructArray.from_arrays([pa.array(np.linspace(0, 1, n), pa.float32())], ["content"])
    zeros, rows = np.zeros(n, int), np.arange(start, stop)
    source = source_array(["frame:predict"], zeros, rows, zeros, zeros + 1, rows.astype(np.uint64))
    inputs = pa.RecordBatch.from_arrays([pa.array(range(start, stop), pa.int64())], ["id"])
    return inputs, pa.StructArray.from_arrays([content], ["record/x"]), source


def files_of(path: Path, plan: Plan, rank: int = 0, **options: Any) -> RankFiles:
    schema = rank_schema(plan.snapshot.schema, KIND)
    options = {"attempt": "a1", "model_fingerprint": "m", "schema": schema} | options
    return RankFiles(LocalStore(path), plan=plan, rank=rank, **options)


def run(path: Path, plan: Plan, rank: int = 0, step: int = 5, **options: Any) -> Marker:
    files = files_of(path, plan, rank, **options)
    for start, stop in plan.share(rank):
        for first in range(start, stop, step):
            last = min(first + step, stop)
            files.write(*batch_of(plan, first, last), (first, last))
    return files.close()


@pytest.fixture
def plan() -> Plan:
    return Plan(snapshot_frame(table_of(23)), 2)


def test_a_rank_seals_segments_at_batch_borders(tmp_path: Path, plan: Plan) -> None:
    marker = run(tmp_path, plan, step=5, segment_rows=6)
    assert [(file.path, file.rows, file.spans) for file in marker.files] == [
        ("rank-0.0.parquet", 10, ((0, 10),)),
        ("rank-0.1.parquet", 2, ((10, 12),)),
    ]
    assert (marker.rows, marker.input_rows, marker.batches) == (12, 12, 3)
    for file in marker.files:
        data = (tmp_path / file.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)
    assert run(tmp_path / "one", plan, rank=1).files[0].path == "rank-1.parquet"


def test_the_footer_tells_what_the_folder_should_hold(tmp_path: Path, plan: Plan) -> None:
    marker = run(tmp_path, plan)
    data = pq.read_metadata(tmp_path / "rank-0.parquet").metadata[FOOTER_KEY]
    assert json.loads(data) == {
        "format": 1, "attempt": "a1", "rank": 0, "segment": 0, "world_size": 2, "rows": 12, "plan": plan.digest,
        "snapshot": plan.snapshot.digest, "model": "m", "schema": marker.schema_digest, "row_hash": "j2v-rowhash-1",
    }  # fmt: skip
    assert parse_document(Footer, data, "here").dumps() == data


def test_page_checksums_find_flipped_bytes(tmp_path: Path, plan: Plan) -> None:
    run(tmp_path, plan)
    file = tmp_path / "rank-0.parquet"
    data = bytearray(file.read_bytes())
    column = pq.read_metadata(file).row_group(0).column(1)
    begin = column.dictionary_page_offset or column.data_page_offset
    data[begin + column.total_compressed_size - 3] ^= 1
    file.write_bytes(data)
    with pytest.raises(OSError, match="CRC checksum"):
        pq.ParquetFile(file, page_checksum_verification=True).read()


def test_flushing_closes_row_groups(tmp_path: Path, plan: Plan) -> None:
    run(tmp_path, plan, step=2, flush_every_n_batches=4)
    metadata = pq.read_metadata(tmp_path / "rank-0.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [8, 4]


def test_a_rank_without_rows_says_so(tmp_path: Path) -> None:
    plan = Plan(snapshot_frame(table_of(1)), 2)
    run(tmp_path, plan, 0)
    marker = run(tmp_path, plan, 1)
    assert (marker.rows, marker.files[0].rows) == (0, 0)
    assert pq.read_schema(tmp_path / "rank-1.parquet").equals(pq.read_schema(tmp_path / "rank-0.parquet"))
    assert commit_predictions(tmp_path, plan).rows == 1


def test_lengths_are_compared(tmp_path: Path, plan: Plan) -> None:
    inputs, predictions, source = batch_of(plan, 0, 5)
    with pytest.raises(AlignmentError, match=r"predictions has 4 rows where source \(rank 0, batch 0.* has 5"):
        files_of(tmp_path, plan).write(inputs, predictions.slice(1), source, (0, 5))


def test_another_type_names_row_and_schema(tmp_path: Path, plan: Plan) -> None:
    inputs, _, source = batch_of(plan, 5, 10)
    text = pa.array([{"record/x": {"content": "text"}}] * 5)
    with pytest.raises(ProcessorError, match=r"'predictions' of frame:predict, row 5 .*expected struct.*schema="):
        files_of(tmp_path, plan).write(inputs, text, source, (5, 10))


def test_abort_removes_only_what_is_open(tmp_path: Path, plan: Plan) -> None:
    files = files_of(tmp_path, plan, segment_rows=5)
    files.write(*batch_of(plan, 0, 5), (0, 5))
    files.write(*batch_of(plan, 5, 8), (5, 8))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rank-0.0.parquet", "rank-0.1.parquet.tmp"]
    files.abort()
    assert [file.name for file in tmp_path.iterdir()] == ["rank-0.0.parquet"]


def test_an_incomplete_share_gets_no_marker(tmp_path: Path, plan: Plan) -> None:
    files = files_of(tmp_path, plan)
    files.write(*batch_of(plan, 0, 5), (0, 5))
    with pytest.raises(IncompletePredictions, match=r"rows \[\(0, 5\)\], expected its share \[\(0, 12\)\]"):
        files.close()
    assert not (tmp_path / "rank-0.json").exists()


def test_committing_twice_gives_the_same_bytes(tmp_path: Path, plan: Plan) -> None:
    for rank in range(2):
        run(tmp_path, plan, rank)
    first = commit_predictions(tmp_path, plan, settings={"device": "cpu"})
    data = (tmp_path / "_manifest.json").read_bytes()
    assert commit_predictions(tmp_path, plan, settings={"device": "cpu"}) == first
    assert (tmp_path / "_manifest.json").read_bytes() == data
    assert parse_document(Manifest, data, "here") == first
    with pytest.raises(IncompletePredictions, match="says something else"):
        commit_predictions(tmp_path, plan, settings={"device": "cuda:0"})
    with pytest.raises(ValueError, match="unknown settings"):
        commit_predictions(tmp_path, plan, settings={"colour": "red"})


def amend(path: Path, **values: Any) -> None:
    document = json.loads(path.read_text())
    document.update(values)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"attempt": "a0"}, "attempt is 'a0', expected 'a1'"),
        ({"plan": "p"}, "plan is 'p'"),
        ({"snapshot": "s"}, "snapshot is 's'"),
        ({"model": "other"}, "model is 'other', expected 'm'"),
        ({"schema": "x"}, "schema is 'x'.*remedy: schema="),
        ({"world_size": 3}, "world_size is 3, expected 2"),
        ({"rows": 10}, "rows is 10, but its files hold 11"),
        ({"files": []}, "lists no file"),
        ({"format": 2}, "format version 2; this version reads markers of format 1"),
        ({"colour": "red"}, "colour: Extra inputs"),
    ],
)
def test_markers_that_disagree_name_their_rank(tmp_path: Path, plan: Plan, values: Any, why: str) -> None:
    for rank in range(2):
        run(tmp_path, plan, rank)
    amend(tmp_path / "rank-1.json", **values)
    with pytest.raises(IncompletePredictions, match=why) as error:
        commit_predictions(tmp_path, plan)
    assert error.value.ranks == (1,)
    assert not (tmp_path / "_manifest.json").exists()


def test_dropped_rows_with_an_adjusted_marker_are_refused(tmp_path: Path, plan: Plan) -> None:
    for rank in range(2):
        run(tmp_path, plan, rank, segment_rows=5)
    marker = json.loads((tmp_path / "rank-0.json").read_text())
    amend(tmp_path / "rank-0.json", files=marker["files"][:-1], rows=10)
    with pytest.raises(IncompletePredictions, match=r"rank 0 accounts for plan rows \[0, 10\), expected \[0, 12\)"):
        commit_predictions(tmp_path, plan)


@pytest.mark.parametrize("fault", ["gone", "short", "footer", "empty"])
def test_files_that_disagree_with_their_marker_are_refused(tmp_path: Path, plan: Plan, fault: str) -> None:
    for rank in range(2):
        run(tmp_path, plan, rank)
    file = tmp_path / "rank-1.parquet"
    if fault == "gone":
        file.unlink()
    elif fault == "footer":
        run(tmp_path / "other", plan, 1, attempt="a2")
        file.write_bytes((tmp_path / "other" / "rank-1.parquet").read_bytes())
    else:
        file.write_bytes(file.read_bytes()[:-1] if fault == "short" else b"")
    why = {"gone": "is missing", "short": "bytes, expected", "footer": "footer says attempt 'a2', expected 'a1'",
           "empty": "has 0 bytes"}[fault]  # fmt: skip
    with pytest.raises(IncompletePredictions, match=rf"rank-1\.parquet: .*{why}|{why}") as error:
        commit_predictions(tmp_path, plan)
    assert error.value.ranks == (1,)


def test_a_late_marker_is_waited_for(tmp_path: Path, plan: Plan) -> None:
    run(tmp_path, plan, 0)
    run(tmp_path, plan, 1, attempt="a0")  # left by an earlier attempt
    with pytest.raises(IncompletePredictions, match="is of attempt 'a0', expected 'a1'"):
        commit_predictions(tmp_path, plan, attempt="a1")

    def late() -> None:
        time.sleep(0.3)
        run(tmp_path, plan, 1)

    thread = threading.Thread(target=late)
    thread.start()
    assert commit_predictions(tmp_path, plan, attempt="a1", wait_s=20).rows == 23
    thread.join()


def test_reading_takes_exactly_the_manifests_files(tmp_path: Path, plan: Plan) -> None:
    with pytest.raises(IncompletePredictions, match=r"holds no _manifest\.json"):
        j2v.read_predictions(tmp_path)
    for rank in range(2):
        run(tmp_path, plan, rank, segment_rows=5)
    commit_predictions(tmp_path, plan)
    run(tmp_path / "more", Plan(plan.snapshot, 3), 2)
    (tmp_path / "more" / "rank-2.parquet").rename(tmp_path / "rank-2.parquet")
    found = j2v.read_predictions(tmp_path).collect()
    assert found["inputs"].struct.field("id").to_list() == list(range(23))
    with pytest.raises(IncompletePredictions, match=r"rank 1 of 2 .*read_predictions\(") as error:
        j2v.read_predictions(tmp_path / "rank-1.0.parquet")
    assert error.value.ranks == (1,)
    (tmp_path / "rank-1.0.parquet").unlink()
    with pytest.raises(IncompletePredictions, match=r"rank 1: rank-1\.0\.parquet is missing \(5 rows\)") as error:
        j2v.read_predictions(tmp_path)
    assert error.value.ranks == (1,)


def test_a_manifest_of_another_format_or_cut_short_is_refused(tmp_path: Path, plan: Plan) -> None:
    for rank in range(2):
        run(tmp_path, plan, rank)
    commit_predictions(tmp_path, plan)
    data = (tmp_path / "_manifest.json").read_text()
    (tmp_path / "_manifest.json").write_text(data[:-9])
    with pytest.raises(IncompletePredictions, match="may be cut short"):
        j2v.read_predictions(tmp_path)
    (tmp_path / "_manifest.json").write_text(data.replace('"format":1', '"format":7'))
    with pytest.raises(IncompletePredictions, match="format version 7; this version reads manifests of format 1"):
        j2v.read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rank-0.parquet", ("rows", 0, False)),
        ("rank-12.3.parquet.tmp", ("rows", 12, True)),
        ("rejected-4.parquet", ("rejected", 4, False)),
        ("rank-2.json", ("marker", 2, False)),
        (".rank-2.json.0a1b2c3d.tmp", ("marker", 2, True)),
        ("rank-2.error.json", ("error", 2, False)),
        ("ranks-2.parquet", None),
        ("rank-x.parquet", None),
        ("_manifest.json", None),
    ],
)
def test_names(name: str, expected: Any) -> None:
    assert parse_name(name) == expected


def test_spans_merge_and_must_not_overlap() -> None:
    assert merge_spans([(5, 9), (0, 5), (3, 3), (12, 13)]) == ((0, 9), (12, 13))
    with pytest.raises(IncompletePredictions, match=r"\[4, 5\) are accounted for twice"):
        merge_spans([(0, 5), (4, 9)])


def test_the_schema_is_one_and_storable() -> None:
    words = pa.dictionary(pa.int8(), pa.string())
    inputs = pa.schema([("a", words), ("b", pa.list_(words)), ("c", pa.int8())])
    schema = rank_schema(inputs, KIND, ["c", "a"])
    assert schema.field("inputs").type == pa.struct([("a", pa.string()), ("c", pa.int8())])
    assert stored_type(pa.list_(words)) == pa.list_(pa.string())
    assert schema_digest(schema) != schema_digest(rank_schema(inputs, KIND))
    assert schema_digest(pa.schema([("x", pa.list_(pa.field("element", pa.int8())))])) == schema_digest(
        pa.schema([("x", pa.list_(pa.int8()))])
    )
    with pytest.raises(SchemaError, match=r"\['d'\] are not columns"):
        rank_schema(inputs, KIND, ["d"])
    with pytest.raises(SchemaError, match=r"inputs\.e is a struct without fields"):
        rank_schema(pa.schema([("e", pa.struct([]))]), KIND)


@pytest.mark.parametrize(
    ("values", "kind", "fits"),
    [
        ([1, None], pa.int64(), True),
        ([1, 2], pa.float64(), True),
        ([1.5], pa.float32(), True),
        ([{"a": 1}, {}], pa.struct([("a", pa.int64()), ("b", pa.string())]), True),
        ([[], [1.0]], pa.list_(pa.float64()), True),
        ([{"x": 0.5}], pa.map_(pa.string(), pa.float32()), True),
        ([1, 2.5], pa.int64(), False),
        ([1, True], pa.int64(), False),
        ([1, 2**40], pa.int32(), False),
        ([{"a": 1}, {"a": 1, "c": 2}], pa.struct([("a", pa.int64())]), False),
        ([["a"], [1]], pa.list_(pa.string()), False),
        ([None, 1], pa.null(), False),
    ],
)
def test_values_fit_or_are_named(values: Any, kind: pa.DataType, fits: bool) -> None:
    if fits:
        assert fit_values(values, kind, "column", lambda row: f"row {row}").type == kind
    else:
        with pytest.raises(ProcessorError, match=r"column of row 1 does not fit.*schema="):
            fit_values(values, kind, "column", lambda row: f"row {row}")
