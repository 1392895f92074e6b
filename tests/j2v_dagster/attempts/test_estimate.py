"""Estimates: the past is read from job files and markers, the likest attempts count, and the work is bounded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from past import CPU, write_attempt

from j2v_dagster.attempts.estimate import ATTEMPTS, MARKERS, current_snapshot, estimate, past_attempts
from j2v_dagster.shards.source import ShardSource, write_inputs
from json2vec.storage.local import LocalStore
from json2vec.storage.opening import open_store


def test_without_a_past_only_bytes_are_told(tmp_path: Path, source: ShardSource) -> None:
    snapshot = source.snapshot("d1")
    found = estimate([snapshot], str(tmp_path / "out"), conditions=CPU)
    size = (tmp_path / "shards" / "dt=d1" / "a.parquet").stat().st_size
    assert (found.rows, found.shards, found.input_bytes, found.rank_rows) == (4000, 1, size, 2000)
    assert (found.seconds, found.output_bytes, found.basis) == (None, 2 * size, "no past rate: first run")
    assert found.free_bytes is not None
    assert found.free_bytes > 0
    line = estimate([snapshot], str(tmp_path / "out"), conditions=CPU).summary()
    assert line.startswith("estimate: 4,000 rows in 1 shard (")
    assert "on 2 ranks, up to 2,000 rows each" in line
    assert "no past rate: first run" in line
    assert "\n" not in line


def test_seconds_and_bytes_follow_from_the_past(tmp_path: Path, source: ShardSource) -> None:
    output = tmp_path / "out"
    for number, rate in enumerate((100.0, 200.0, 400.0)):
        write_attempt(output, "d0", number, rows_per_s=rate)
    write_attempt(output, "d9", 7, rows_per_s=200.0)
    found = estimate([source.snapshot("d1")], str(output), conditions=CPU)
    # Two attempts a partition at most, so the one at 100 rows/s is forgotten.
    assert found.basis.startswith("from 3 past attempts of this model with these settings")
    assert (found.seconds, found.seconds_low, found.seconds_high) == (8 + 2000 / 200, 8 + 2000 / 400, 8 + 2000 / 200)
    assert found.output_bytes == 4000 * 20
    both = estimate([source.snapshot("d1"), source.snapshot("d2")], str(output), conditions=CPU)
    assert (both.rows, both.rank_rows, both.partitions) == (6001, 2000, 2)
    assert both.seconds == pytest.approx(8 + 2000 / 200 + 8 + 1001 / 200)
    assert "about 31 s (" in both.summary()
    assert both.to_json()["seconds"] == both.seconds


@pytest.mark.parametrize(
    ("changed", "words", "rate"),
    [
        ({}, "of this model with these settings", 100.0),
        ({"world_size": 8}, "of this model with another number of ranks", 100.0),
        ({"precision": "bf16-mixed"}, "of this model with other settings", 100.0),
        ({"checkpoint_sha256": "c" * 64}, "of other models on cpu", 100.0),
        ({"checkpoint_sha256": "c" * 64, "accelerator": "tpu"}, "of other models on other devices", 100.0),
        ({"accelerator": "gpu", "checkpoint_sha256": None}, "of other models on gpu", 9000.0),
    ],
)
def test_the_likest_attempts_count(
    tmp_path: Path, source: ShardSource, changed: dict[str, Any], words: str, rate: float
) -> None:
    from dataclasses import replace

    output = tmp_path / "out"
    write_attempt(output, "d0", 1, rows_per_s=9000.0, settings=replace(CPU, accelerator="gpu", checkpoint_sha256="e"))
    write_attempt(output, "d0", 2, rows_per_s=100.0)
    settings = replace(CPU, **changed)
    found = estimate([source.snapshot("d1")], str(output), conditions=settings)
    assert words in found.basis
    assert found.seconds == pytest.approx(8 + 4000 / settings.world_size / rate)


def test_the_newest_attempts_weigh_most(tmp_path: Path, source: ShardSource) -> None:
    output = tmp_path / "out"
    for number in range(12):  # the model became slower: six partitions at 1000 rows/s, then six at 100
        write_attempt(output, f"d{number:02}", number, rows_per_s=1000.0 if number < 6 else 100.0)
    found = estimate([source.snapshot("d1")], str(output), conditions=CPU)
    assert found.seconds == pytest.approx(8 + 2000 / 100)
    assert found.seconds_low == pytest.approx(8 + 2000 / 1000)


class Counted(LocalStore):
    """A store that counts what is read from it."""

    reads = 0

    def open(self, path: str) -> IO[bytes]:
        self.reads += 1
        return super().open(path)


def test_however_big_the_output_few_files_are_read(tmp_path: Path) -> None:
    from dataclasses import replace

    for number in range(40):
        write_attempt(tmp_path, f"p{number:03}", number, rows_per_s=10.0, settings=replace(CPU, world_size=16))
    store = Counted(tmp_path)
    found = list(past_attempts(store))
    assert len(found) == ATTEMPTS
    assert store.reads == ATTEMPTS * (1 + MARKERS)
    assert found[0].name > found[-1].name
    assert found[0].rank_rows_per_s == pytest.approx(10.0)


def test_attempts_that_tell_no_rate_are_left_out(tmp_path: Path) -> None:
    spoil: list[Callable[[Path], object]] = [
        lambda path: (path / "rank-1.json").unlink(),  # running, or killed
        lambda path: (path / "rank-0.json").write_text("{"),  # torn
        lambda path: (path / "job.json").write_text("{}"),  # of another version
        lambda path: (path / "job.json").unlink(),
    ]
    for number, spoiling in enumerate(spoil):
        write_attempt(tmp_path, f"p{number}", number, rows_per_s=10.0)
        (folder,) = (tmp_path / f"dt=p{number}" / "attempts").iterdir()
        spoiling(folder)
    (tmp_path / "_launches" / "x").mkdir(parents=True)
    (tmp_path / "dt=empty").mkdir()
    assert list(past_attempts(open_store(tmp_path))) == []
    write_attempt(tmp_path, "good", 9, rows_per_s=10.0)
    assert len(list(past_attempts(open_store(tmp_path)))) == 1
    assert list(past_attempts(open_store(tmp_path / "nowhere"))) == []


def test_partitions_may_lie_deeper(tmp_path: Path) -> None:
    write_attempt(tmp_path / "eu" / "shop", "d1", 1, rows_per_s=10.0)
    assert len(list(past_attempts(open_store(tmp_path), "eu/shop/dt={partition}"))) == 1


def test_a_frozen_snapshot_is_used_while_it_holds(tmp_path: Path, source: ShardSource) -> None:
    import dataclasses

    output = tmp_path / "out"
    real = source.snapshot("d1")
    # A marked copy shows which of the two was taken.
    marked = dataclasses.replace(real, root="/frozen")
    write_inputs(open_store(output / "dt=d1"), marked)
    assert current_snapshot(source, str(output), "d1").root == "/frozen"
    pq.write_table(pa.table({"id": [1]}), tmp_path / "shards" / "dt=d1" / "b.parquet")
    assert current_snapshot(source, str(output), "d1").rows == 4001


def test_estimating_imports_no_torch() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1].split(':')\n"
        "from j2v_dagster.attempts.estimate import past_attempts; from json2vec.storage.opening import open_store\n"
        "import j2v_dagster.cli.project, j2v_dagster.cli.init_project, json2vec.rank_files.manifest\n"
        "print(list(past_attempts(open_store('/nowhere'))), sorted({'torch', 'lightning'} & set(sys.modules)))"
    )
    done = run([sys.executable, "-W", "ignore", "-c", code, ":".join(sys.path)], capture_output=True, text=True)
    assert done.stdout.strip() == "[] []", done.stderr
