"""`RankFiles`: segments at batch borders, and no marker for a share that is not whole."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_ranks import batch_of, files_of, run

from json2vec.errors import AlignmentError, IncompletePredictions, ProcessorError, StoreError
from json2vec.rank_files import rank_writer
from json2vec.rank_files.reader import row_batches
from json2vec.reading.plan import Plan
from json2vec.storage.lock import LockLost


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


@pytest.mark.parametrize("flush_every", [None, 3])
def test_row_groups_are_bounded_in_bytes(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch, flush_every: int | None
) -> None:
    inputs, _, source = batch_of(plan, 0, 12)
    row = (inputs.nbytes + source.nbytes) // 12
    monkeypatch.setattr(rank_writer, "ROW_GROUP_BYTES", 4 * row)
    run(tmp_path, plan, step=12, flush_every_n_batches=flush_every)
    metadata = pq.read_metadata(tmp_path / "rank-0.parquet")
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sum(groups) == 12
    assert 1 <= max(groups) <= 4
    with open(tmp_path / "rank-0.parquet", "rb") as file:
        batches = list(row_batches(pq.ParquetFile(file)))
    assert [batch.num_rows for batch in batches] == groups
    assert pa.Table.from_batches(batches)["source"].combine_chunks().field("row").to_pylist() == list(range(12))
def test_a_second_process_of_the_same_rank_is_refused_and_the_first_goes_on(tmp_path: Path, plan: Plan) -> None:
    first = files_of(tmp_path, plan, segment_rows=6, settings="s")
    first.write(*batch_of(plan, 0, 6), (0, 6))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "rank-0.segments.jsonl" in before, "a segment is sealed and noted"
    with pytest.raises(StoreError, match=rf"rank 0 of attempt 'a1' .*at work already: process {os.getpid()} .*"
                                         r"expected one process a rank\. This one .* nothing\. Remedy"):  # fmt: skip
        files_of(tmp_path, plan, segment_rows=6, settings="s")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    other = files_of(tmp_path, plan, 1, segment_rows=6, settings="s")
    other.abort()
    first.write(*batch_of(plan, 6, 12), (6, 12))
    assert [file.rows for file in first.close().files] == [6, 6]


@pytest.mark.parametrize("end", ["abort", "close", "killed"])
def test_a_rank_whose_process_has_ended_can_begin_anew(tmp_path: Path, plan: Plan, end: str) -> None:
    child = os.fork()
    if child == 0:
        files = files_of(tmp_path, plan, settings="s")
        files.write(*batch_of(plan, 0, 12), (0, 12))
        if end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        getattr(files, end)()
        files_of(tmp_path, plan, settings="s").abort()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (-signal.SIGKILL if end == "killed" else 0)
    assert run(tmp_path, plan, settings="s").rows == 12


def test_a_rank_that_stood_still_seals_and_marks_nothing(tmp_path: Path, plan: Plan) -> None:
    """Its lease ran out meanwhile, and another process may be the rank."""
    files = files_of(tmp_path, plan, settings="s")
    files.write(*batch_of(plan, 0, 12), (0, 12))

    class Lost:
        def check(self) -> None:
            raise LockLost("_rank-0.lock: another run took it over")

    files._held = Lost()
    with pytest.raises(LockLost):
        files.close()
    files.abort()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("rank-")]
