"""Rank files in a bucket: written, committed, read back, verified and adopted on a real S3 server."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import numpy as np
import polars as pl
import pytest

import json2vec as j2v
import json2vec.storage.s3 as s3_module
from json2vec.errors import IncompletePredictions, StoreError
from json2vec.rank_files.layout import rank_schema
from json2vec.rank_files.rank_writer import RankFiles
from json2vec.rank_files.resume import resume
from json2vec.reading.plan import Plan
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore
from json2vec.storage.opening import open_store
from json2vec.storage.s3 import S3Store
from json2vec.storage.store import stored_sha256

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Any:
    made = j2v.Model.from_schema(
        j2v.Number("x"), j2v.Category("label", target=True, max_vocab_size=4), d_model=8, n_layers=1, n_heads=2,
        batch_size=8, embed=True,
    )  # fmt: skip
    made.learn([{"label": "a"}, {"label": "b"}])
    return made


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    return s3.bucket("rank-files")


def shards(store: S3Store, rows: int = 60) -> None:
    frame = pl.DataFrame({"id": [f"r{i}" for i in range(rows)], "x": np.arange(rows) / 7, "label": [None] * rows})
    frame = frame.with_columns(pl.col("label").cast(pl.String))
    for number, part in enumerate(frame.iter_slices(25)):
        store.write(f"in/part {number}#ü.parquet", _parquet(part))


def _parquet(frame: pl.DataFrame) -> bytes:
    import io

    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def test_a_writer_of_a_bucket(s3: Any, bucket: str, model: Any, tmp_path: Path) -> None:
    root, options, scratch = f"{bucket}/plain", s3.options(), tmp_path / "scratch"
    store = open_store(root, options)
    assert isinstance(store, S3Store)
    shards(store)
    data = j2v.StreamingDataModule(model, f"{root}/in", "parquet", predict=".", storage_options=options)
    out = f"{root}/out dir"
    for _ in range(2):  # the second resets what the first left
        writer = j2v.Writer(out, segment_rows=16, storage_options=options, scratch=scratch)
        lit.Trainer(accelerator="cpu", callbacks=[writer], logger=False, enable_progress_bar=False).predict(
            model, datamodule=data, return_predictions=False
        )
    assert list(scratch.iterdir()) == [], "nothing stays on the local disk"
    names = [entry.path for entry in open_store(out, options).list()]
    assert names == ["_manifest.json", "rank-0.0.parquet", "rank-0.1.parquet", "rank-0.2.parquet", "rank-0.3.parquet",
                     "rank-0.json"]  # fmt: skip
    frame = j2v.read_predictions(out, storage_options=options).collect()
    assert frame["inputs"].struct.field("id").to_list() == [f"r{i}" for i in range(60)]
    assert frame["source"].struct.field("file")[0] == "part 0#ü.parquet"
    report = j2v.verify_predictions(out, model=model, storage_options=options)
    assert report.passed, report.summary()
    with pytest.raises(IncompletePredictions, match=r"rank-0\.1\.parquet is the file of rank 0 of 1"):
        j2v.read_predictions(f"{out}/rank-0.1.parquet", storage_options=options)
    open_store(out, options).delete("rank-0.2.parquet")
    with pytest.raises(IncompletePredictions, match=r"rank 0: rank-0\.2\.parquet is missing"):
        j2v.read_predictions(out, storage_options=options)
    assert not j2v.verify_predictions(out, model=model, storage_options=options).passed


def rank_files(store: Any, model: Any, snapshot: Any, source: Any, attempt: str, *, batches: int | None) -> None:
    """The only rank of an attempt; it dies after ``batches`` batches, or ends well."""
    plan = Plan(snapshot, 1)
    files = RankFiles(
        store, plan=plan, rank=0, attempt=attempt, model_fingerprint=model.fingerprint(),
        schema=rank_schema(snapshot.schema, model.output_type()), segment_rows=16, settings="s",
    )  # fmt: skip
    for number, rows in enumerate(read_rows(snapshot, source, plan.share(0), batch_size=8)):
        if number == batches:
            files.abort()
            return
        files.write(rows.inputs, model.infer(model.encode(rows)).cpu().columns(), rows.source, rows.span)
    files.close()


@pytest.mark.parametrize("kind", ["s3 to s3", "local to s3", "s3 to local"])
def test_sealed_segments_are_adopted_across_stores(
    s3: Any, bucket: str, model: Any, tmp_path: Path, kind: str
) -> None:
    root, options = f"{bucket}/resume {kind}", s3.options()
    source = open_store(f"{root}/in", options)
    store = open_store(root, options)
    assert isinstance(store, S3Store)
    shards(store)
    snapshot = snapshot_files(source, "parquet")
    first = LocalStore(tmp_path / "a1") if kind.startswith("local") else open_store(f"{root}/a1", options)
    second = LocalStore(tmp_path / "a2") if kind.endswith("local") else open_store(f"{root}/a2", options)
    rank_files(first, model, snapshot, source, "a1", batches=5)  # 40 rows: two sealed segments, one open
    sealed = [entry.path for entry in first.list() if entry.path != "_rank-0.lock"]
    assert sealed == ["rank-0.0.parquet", "rank-0.1.parquet", "rank-0.segments.jsonl"]
    found = resume(second, [first], rows=snapshot.rows, snapshot=snapshot.digest, settings="s")
    assert found.intervals == ((32, 60),)
    assert [segment.file.path for segment in found.adopted] == ["adopted-0.parquet", "adopted-1.parquet"]
    for segment in found.adopted:
        assert stored_sha256(second, segment.file.path) == segment.file.sha256
    # A segment whose bytes changed is not adopted.
    data = bytearray(first.read("rank-0.1.parquet"))
    data[len(data) // 2] ^= 1
    first.write("rank-0.1.parquet", bytes(data))
    third = open_store(f"{root}/a3", options)
    found = resume(third, [first], rows=snapshot.rows, snapshot=snapshot.digest, settings="s")
    assert found.intervals == ((16, 60),)
    assert "rank-0.1.parquet not adopted" in found.refused[0]


def test_large_files_go_up_in_checked_parts(
    s3: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 << 20)
    store = open_store(f"{bucket}/parts", s3.options())
    data = np.random.default_rng(0).bytes(12 << 20)
    digest = hashlib.sha256(data).hexdigest()
    for name, size in (("whole", len(data)), ("small", 1000)):
        local = tmp_path / name
        local.write_bytes(data[:size])
        store.upload(local, name, sha256=hashlib.sha256(data[:size]).hexdigest())
        assert not local.exists()
        assert store.read(name) == data[:size]
    assert stored_sha256(store, "whole") == digest
    for size in (len(data), 1000):  # other bytes than the digest says, in parts and in one piece
        local = tmp_path / "wrong"
        local.write_bytes(data[:size])
        with pytest.raises(StoreError, match=f"{bucket}/parts/wrong"):
            store.upload(local, "wrong", sha256="0" * 64)
        assert local.exists()
        with pytest.raises(FileNotFoundError):
            store.stat("wrong")


def test_listing_goes_on_where_it_stopped(s3: Any, bucket: str, tmp_path: Path) -> None:
    # S3 sorts keys as text, "a-b/x" before "a/b/c". The test's server walks folders, so it does not get that name.
    common = ["a/b/c", "a/b/d", "a/e", "a0", "b/ü/z", "b/ü/zz"]
    for store, more in ((open_store(f"{bucket}/listing", s3.options()), []), (LocalStore(tmp_path), ["a-b/x"])):
        names = [*more, *common]
        for name in names:
            store.write(name, b"1")
        listed = [entry.path for entry in store.list()]
        assert listed == sorted(names)
        for after in [*names, *(["a", "a/b", "a/b/cc", "b/", "0", "z"] if more else ["a/b/cc", "z"])]:
            assert [entry.path for entry in store.list(after=after)] == [one for one in listed if one > after], after
        assert [entry.path for entry in store.list("a", after="a/b/c")] == ["a/b/d", "a/e"]
        assert store.folders() == sorted({"a", "b", *(name.partition("/")[0] for name in more)})
        assert store.folders("a") == ["b"]
        assert store.folders("absent") == []
