"""Attempts at one partition that die after some segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import json2vec as j2v
from json2vec.data.quarantine import encode_or_reject
from json2vec.rank_files.layout import rank_schema
from json2vec.rank_files.rank_writer import RankFiles
from json2vec.rank_files.resume import Resume, resume
from json2vec.reading.plan import Plan
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

ROWS = 136  # of the `shards` fixture


class Partition:
    """Attempts at the shards, each predicted as far as a test wants."""

    def __init__(self, root: Path, shards: Path, model: Any) -> None:
        self.root, self.model = root, model
        self.store = LocalStore(shards)
        self.snapshot = snapshot_files(self.store, "parquet")

    def predict(
        self, name: str, ranks: int, *, dies: dict[int, int] | None = None, intervals: Any = None, settings: str = "s",
        segment_rows: int = 12, preprocessor: Any = None,
    ) -> Plan:  # fmt: skip
        """One attempt; rank R writes no more than ``dies[R]`` batches and then neither seals nor marks anything."""
        whole = ((0, self.snapshot.rows),)
        plan = Plan(self.snapshot, ranks, whole if intervals is None else intervals)
        schema = rank_schema(self.snapshot.schema, self.model.output_type())
        for rank in range(ranks):
            files = RankFiles(
                LocalStore(self.root / name), plan=plan, rank=rank, attempt=name,
                model_fingerprint=self.model.fingerprint(), schema=schema, segment_rows=segment_rows, settings=settings,
            )  # fmt: skip
            batches = read_rows(self.snapshot, self.store, plan.share(rank), batch_size=8, preprocessor=preprocessor)
            for number, rows in enumerate(batches):
                if dies is not None and number == dies.get(rank):
                    break
                batch = encode_or_reject(self.model, rows)
                assert batch.rows is not None
                kept = batch.rows
                files.write(kept.inputs, self.model.infer(batch).cpu().columns(), kept.source, kept.span, kept.rejected)
            else:
                files.close()
        return plan

    def resume(self, name: str, earlier: list[str], **options: Any) -> Resume:
        (self.root / name).mkdir(parents=True, exist_ok=True)
        options = {"rows": ROWS, "snapshot": self.snapshot.digest, "settings": "s"} | options
        return resume(LocalStore(self.root / name), [LocalStore(self.root / one) for one in earlier], **options)

    def table(self, name: str) -> pl.DataFrame:
        found = j2v.read_predictions(self.root / name).collect()
        keys = [pl.col("source").struct.field(one) for one in ("file", "row", "part")]
        return found.sort(keys)


@pytest.fixture
def partition(tmp_path: Path, shards: Path, model: Any) -> Partition:
    return Partition(tmp_path / "attempts", shards, model)
