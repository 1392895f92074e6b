"""Attempts of the past, as estimates read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from j2v_dagster.attempts.estimate import Conditions
from j2v_dagster.shards.source import ShardSource
from json2vec.rank_files.manifest import Marker, SealedFile

CPU = Conditions(
    checkpoint_sha256="a" * 64, accelerator="cpu", precision="32-true", batch_size=None, threads=None, world_size=2
)
BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def write_attempt(
    output: Path, partition: str, number: int, *, rows_per_s: float, rows: int = 1000, settings: Conditions = CPU
) -> None:
    """What an attempt leaves whose ranks started 8 s after it and then predicted at ``rows_per_s`` each."""
    began = BEGAN + timedelta(minutes=number)
    name = f"{began:%Y%m%dT%H%M%S%fZ}-0af1b2c3-{number:04x}"
    folder = output / f"dt={partition}" / "attempts" / name
    folder.mkdir(parents=True)
    job = {
        "checkpoint_sha256": settings.checkpoint_sha256, "accelerator": settings.accelerator,
        "precision": settings.precision, "batch_size": settings.batch_size, "threads": settings.threads,
        "world_size": settings.world_size,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job))
    started = began + timedelta(seconds=8)
    for rank in range(settings.world_size):
        file = SealedFile(
            path=f"rank-{rank}.parquet", rows=rows, bytes=rows * 20, sha256="b" * 64, segment=0, spans=((0, rows),),
            attempt=name,
        )  # fmt: skip
        marker = Marker(
            attempt=name, world_size=settings.world_size, snapshot="s", model="m", schema_digest="d", rank=rank,
            plan="p", rows=rows, input_rows=rows, rejected_rows=0, files=(file,), rejected=(), started=started,
            finished=started + timedelta(seconds=rows / rows_per_s), batches=1,
        )  # fmt: skip
        (folder / f"rank-{rank}.json").write_bytes(marker.dumps())


@pytest.fixture
def source(tmp_path: Path) -> ShardSource:
    for day, rows in (("d1", 4000), ("d2", 2001)):
        folder = tmp_path / "shards" / f"dt={day}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"id": list(range(rows))}), folder / "a.parquet")
    return ShardSource(str(tmp_path / "shards"))
