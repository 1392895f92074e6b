"""Faults 5 and 9: a disk that is full, and a folder that holds more than it should."""

from __future__ import annotations

import conftest as faults  # type: ignore[import-not-found]
import forkserver  # type: ignore[import-not-found]
import plain_ranks  # type: ignore[import-not-found]
import pyarrow as pa
import pytest

import json2vec as j2v
from json2vec.errors import IncompletePredictions, StoreError
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.layout import rank_schema
from json2vec.rank_files.rank_writer import RankFiles
from json2vec.reading.plan import Plan
from json2vec.reading.row_batch import source_array
from json2vec.reading.snapshot import snapshot_frame
from json2vec.storage.local import LocalStore

pytestmark = [pytest.mark.slow, pytest.mark.faults]


def test_05_no_room_for_a_rank_file(station) -> None:
    """The kernel refuses the rank's writes past a few kilobytes (RLIMIT_FSIZE), whoever runs the tests."""
    before = station.table()
    faults.arm("disk full")
    outcome = station.run(preprocessor="hurting:fill_the_disk", trusted_modules=["hurting"])
    assert not outcome.success
    assert "rank 1" in outcome.errors
    assert "rank-1.parquet.tmp" in outcome.errors
    assert "File too large" in outcome.errors
    assert "make room" in outcome.errors
    assert station.table() == before
    left = sorted(path.name for path in station.attempts[-1].iterdir() if path.suffix in (".parquet", ".tmp"))
    assert "rank-1.parquet" not in left
    assert "rank-1.parquet.tmp" not in left, "a readable short file must not stay"
    assert not (station.attempts[-1] / "_manifest.json").exists()
    faults.disarm()
    again = station.run()
    assert again.success, again.errors
    assert [row[1] for row in station.table()] == station.expected_ids()


def test_05_a_device_that_is_full(tmp_path) -> None:
    """The open file leads to /dev/full, where every write ends with ENOSPC."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "rank-0.parquet.tmp").symlink_to("/dev/full")
    rows = 50_000
    table = pa.table({"x": pa.array(range(rows), pa.int64())})
    plan = Plan(snapshot_frame(table), 1)
    kind = pa.struct([("record/y", pa.struct([("content", pa.float64())]))])
    files = RankFiles(LocalStore(folder), plan=plan, rank=0, attempt="a", model_fingerprint="0" * 64,
                      schema=rank_schema(plan.snapshot.schema, kind))  # fmt: skip
    numbers = table["x"].to_numpy()
    source = source_array(["frame:predict"], 0 * numbers, numbers, 0 * numbers, 0 * numbers + 1, numbers.astype("u8"))
    predictions = pa.array([{"record/y": {"content": float(i) ** 0.5}} for i in range(rows)], kind)

    def write_all() -> None:
        files.write(table.to_batches()[0], predictions, source, (0, rows))
        files.close()

    with pytest.raises(StoreError, match="No space left on device") as error:
        write_all()
    assert "rank-0.parquet.tmp" in str(error.value)
    assert "make room" in str(error.value)
    files.abort()
    assert [path.name for path in folder.iterdir() if path.suffix != ".tmp"] == [], (
        "nothing that a reader would look at"
    )
    with pytest.raises(IncompletePredictions, match="rank 0 left no marker"):
        commit_predictions(folder, plan)


def test_09_files_of_a_larger_attempt_and_one_that_comes_later(checkpoint, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    faults.records(3, 90).write_parquet(tmp_path / "in" / "a.parquet")
    out = tmp_path / "out"

    def run(ranks: int, attempt: str) -> None:
        path = [str(faults.HERE), str(faults.HERE.parents[1])]
        arguments = (str(checkpoint), str(tmp_path / "in"), str(out), attempt)
        make = forkserver._context.Process
        processes = [make(target=plain_ranks.as_rank, args=(rank, ranks, path, *arguments)) for rank in range(ranks)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * ranks

    run(4, "first")
    assert len(list(out.glob("rank-*.parquet"))) == 4
    late = (out / "rank-3.parquet").read_bytes()
    run(2, "second")
    assert sorted(path.name for path in out.iterdir()) == [
        "_manifest.json", "rank-0.json", "rank-0.parquet", "rank-1.json", "rank-1.parquet",
    ]  # fmt: skip
    assert j2v.verify_predictions(out, model=checkpoint).passed
    (out / "rank-3.parquet").write_bytes(late)  # a straggler of the first attempt, uploaded late
    assert j2v.read_predictions(out).collect().height == 90, "not read"
    finding = j2v.verify_predictions(out, model=checkpoint).finding("files")
    assert finding.passed is False
    assert finding.examples == ("rank-3.parquet is not in the manifest",)
