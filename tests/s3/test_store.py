"""`S3Store` against a real server: conditions, listings, identities, odd keys."""

from __future__ import annotations

import itertools
import json
import pickle
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from json2vec.errors import SnapshotChanged, StoreError
from json2vec.reading.snapshot import check_unchanged, snapshot_files
from json2vec.storage import lease
from json2vec.storage.contract import StoreContract
from json2vec.storage.opening import fetch, open_store
from json2vec.storage.s3 import S3Store

pytestmark = pytest.mark.slow
_names = itertools.count()


@pytest.fixture(scope="module")
def contract_bucket(s3: Any) -> str:
    return s3.bucket("contract")


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, s3: Any, contract_bucket: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
        monkeypatch.setattr(lease, "RENEW_S", 0.3)
        monkeypatch.setattr(lease, "POLL_S", 0.1)
        return S3Store(f"{contract_bucket}/a root {next(_names)}", s3.options())


@pytest.fixture(scope="module")
def store(s3: Any) -> S3Store:
    opened = open_store(s3.bucket("store") + "/deep/prefix/", s3.options())
    assert isinstance(opened, S3Store)
    return opened


def test_round_trip_of_odd_keys(store: S3Store) -> None:
    names = ["odd/a#b.txt", "odd/c?d.txt", "odd/e f.txt", "odd/ü.txt", "odd/%2F.txt", "odd/100%.txt"]
    for name in names:
        version = store.write(name, name.encode())
        assert store.stat(name).version == version
        assert store.read(name) == name.encode()
    listed = list(store.list("odd"))
    assert [entry.path for entry in listed] == sorted(names)
    assert [entry.size for entry in listed] == [len(name.encode()) for name in sorted(names)]
    assert store.uri("odd/a#b.txt") == "s3://store/deep/prefix/odd/a#b.txt"
    store.delete(names[0])
    store.delete(names[0])
    with pytest.raises(FileNotFoundError, match=r"a#b\.txt does not exist"):
        store.stat(names[0])
    with pytest.raises(FileNotFoundError, match=r"a#b\.txt does not exist"):
        store.read(names[0])


def test_conditional_writes(store: S3Store) -> None:
    first = store.write("pointer", b"1", if_absent=True)
    assert store.write("pointer", b"1", if_absent=True) == first, "our own bytes: a lost reply is success"
    with pytest.raises(FileExistsError, match="pointer"):
        store.write("pointer", b"2", if_absent=True)
    second = store.write("pointer", b"2", if_version=first)
    with pytest.raises(FileExistsError, match="pointer"):
        store.write("pointer", b"3", if_version=first)
    assert store.read("pointer") == b"2"
    assert store.stat("pointer").version == second


def test_more_keys_than_one_page(store: S3Store) -> None:
    import asyncio

    client = store._client

    async def fill() -> None:
        semaphore = asyncio.Semaphore(32)

        async def put(i: int) -> None:
            async with semaphore:
                await client._call_s3("put_object", Bucket="store", Key=f"deep/prefix/many/{i:05}", Body=b"x")

        await asyncio.gather(*(put(i) for i in range(1100)))

    from fsspec.asyn import sync

    sync(client.loop, fill)
    assert [entry.path for entry in store.list("many")] == [f"many/{i:05}" for i in range(1100)]
    assert not list(store.list("man")), "a prefix is a folder, not the beginning of a name"


def test_identities(s3: Any, store: S3Store) -> None:
    store.write("readable", b"1")
    reader = S3Store(store.root, s3.reader_options())
    assert reader.read("readable") == b"1"
    with pytest.raises(StoreError, match=r"s3://store/deep/prefix/new.*Remedy: check the credentials"):
        reader.write("new", b"1")
    stranger = S3Store(store.root, s3.options({"key": "admin-key", "secret": "wrong"}))
    for action in (lambda: list(stranger.list()), lambda: stranger.read("readable"), lambda: stranger.write("x", b"")):
        with pytest.raises(StoreError, match="s3://store/deep/prefix") as caught:
            action()
        assert "wrong" not in str(caught.value)


def test_a_server_that_is_not_there_is_an_error_within_seconds() -> None:
    gone = S3Store("s3://bucket", {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:9", "max_attempts": 2})
    with pytest.raises(StoreError, match="s3://bucket"):
        list(gone.list())


def test_a_file_is_fetched_once_a_version(s3: Any, store: S3Store, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("models/m.ckpt", b"first")
    local = fetch(store.uri("models/m.ckpt"), tmp_path, s3.options())
    assert (local.name, local.read_bytes()) == ("m.ckpt", b"first")
    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "open", None)
        assert fetch(store.uri("models/m.ckpt"), tmp_path, s3.options()) == local
    store.write("models/m.ckpt", b"second")
    assert fetch(store.uri("models/m.ckpt"), tmp_path, s3.options()).read_bytes() == b"second"


def test_stores_travel_to_workers(store: S3Store) -> None:
    store.write("travels", b"1")
    assert pickle.loads(pickle.dumps(store)).read("travels") == b"1"


def test_mistakes() -> None:
    with pytest.raises(StoreError, match="names no bucket"):
        open_store("s3://")
    with pytest.raises(StoreError, match="unknown storage option 'secrt'"):
        open_store("s3://bucket", {"secrt": "x"})
    with pytest.raises(StoreError, match="leaves the root"):
        S3Store("s3://bucket/a").read("../b")


@pytest.mark.parametrize("suffix", ["parquet", "feather", "orc", "csv", "ndjson", "json", "avro"])
def test_snapshots_and_reading_of_every_suffix(s3: Any, store: S3Store, suffix: str, tmp_path) -> None:
    import lightning.pytorch as lit
    import pyarrow.feather
    import pyarrow.orc

    import json2vec as j2v

    frame = pl.DataFrame({"x": [1.5, 2.5, 3.5, None], "label": ["a", "b", "a", "b"]})
    for part in range(2):
        path = tmp_path / f"part {part}#.{suffix}"
        if suffix == "parquet":
            pq.write_table(frame.to_arrow(), path)
        elif suffix == "feather":
            pyarrow.feather.write_feather(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), str(path))
        elif suffix == "orc":
            pyarrow.orc.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), str(path))
        elif suffix == "csv":
            frame.write_csv(path)
        elif suffix == "avro":
            frame.write_avro(path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dicts()))
        store.write(f"{suffix}/{path.name}", path.read_bytes())
    root = store.uri(suffix)
    model = j2v.Model.from_schema(
        j2v.Number("x"),
        j2v.Category("label", target=True, max_vocab_size=4),
        d_model=8,
        n_layers=1,
        n_heads=2,
        batch_size=3,
    )
    model.learn(frame.to_dicts())
    data = j2v.StreamingDataModule(
        model=model, root=root, suffix=suffix, predict=rf"/part .*\.{suffix}$", storage_options=s3.options()
    )
    writer = j2v.Writer(tmp_path / "predictions")
    trainer = lit.Trainer(accelerator="cpu", callbacks=[writer], logger=False, enable_progress_bar=False)
    trainer.predict(model=model, datamodule=data, return_predictions=False)
    report = j2v.verify_predictions(
        tmp_path / "predictions", inputs=root, model=model, storage_options=s3.options(), sample=None
    )
    assert report.passed, report.summary()
    assert report.rows == 8


def test_an_overwritten_object_is_noticed(s3: Any, store: S3Store, tmp_path) -> None:
    for rows in (3, 4):
        path = tmp_path / "x.parquet"
        pl.DataFrame({"x": list(range(rows))}).write_parquet(path)
        if rows == 3:
            store.write("changing/x.parquet", path.read_bytes())
            inner = open_store(store.uri("changing"), s3.options())
            snapshot = snapshot_files(inner, "parquet")
            check_unchanged(snapshot, inner)
        else:
            store.write("changing/x.parquet", path.read_bytes())
    with pytest.raises(SnapshotChanged, match=r"x\.parquet"):
        check_unchanged(snapshot, inner)
