"""Datasets and data modules: exactly once for any ranks and workers, one step ahead, and nothing left behind."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as lit
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from json2vec.batch import Batch
from json2vec.data import loader, training
from json2vec.data.loader import PlannedDataset, prefetch
from json2vec.data.polars import PolarsDataModule
from json2vec.data.streaming import StreamingDataModule
from json2vec.data.training import EpochLoader, TrainingDataset
from json2vec.errors import Json2VecError, ProcessorError, ReadError, SchemaError
from json2vec.processors import Preprocessor
from json2vec.reading.plan import Plan
from json2vec.reading.row_batch import RowBatch
from json2vec.reading.snapshot import snapshot_files, snapshot_frame
from json2vec.storage.local import LocalStore


class Model(lit.LightningModule):
    """What the loaders need of a model, and enough to be trained."""

    def __init__(self, batch_size: int = 4, vocabularies: Any = ("label",)) -> None:
        super().__init__()
        self.batch_size, self.vocabularies = batch_size, vocabularies
        self.preprocessor_fingerprint: str | None = None
        self.learned: list[Any] = []
        self.seen: list[Any] = []
        self.layer = torch.nn.Linear(1, 1)

    def encode(self, rows: RowBatch, *, strata: str = "predict") -> Batch:
        return Batch({}, len(rows), rows)

    def learn(self, observations: pa.RecordBatch) -> None:
        self.learned += observations.column(0).to_pylist()

    def _step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen += ids([batch])
        return self.layer(torch.ones(len(batch), 1)).mean()

    training_step = validation_step = test_step = _step

    def predict_step(self, batch: Batch, batch_idx: int) -> list[int]:
        return ids([batch])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def ids(batches: Any) -> list[int]:
    return [i for batch in batches for i in batch.rows.observations.column(0).to_pylist()]


def frame(rows: int, start: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"id": range(start, start + rows)}, schema={"id": pl.Int64})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    start = 0
    for i, rows in enumerate([11, 0, 1, 30, 8]):
        pq.write_table(pa.table({"id": pa.array(range(start, start + rows), pa.int64())}), tmp_path / f"{i}.parquet")
        start += rows
    return tmp_path


def trainer(**options: Any) -> lit.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu",
             "enable_checkpointing": False}  # fmt: skip
    return lit.Trainer(**(quiet | options))


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # on purpose: a thread encodes
    "ignore:.*_pytree.*",
    "ignore:.*LeafSpec.*",
    "ignore:.*barrier.*",
    "ignore:Total length of `list` across ranks is zero",  # fit without a validate split
)


# The thread.


def test_prefetch_gives_everything_in_order() -> None:
    assert list(prefetch(lambda: range(100))) == list(range(100))


def test_prefetch_raises_in_the_consumer_after_the_items_before() -> None:
    def items() -> Any:
        yield 1
        raise KeyError("lost")

    stream = prefetch(items)
    assert next(stream) == 1
    with pytest.raises(KeyError, match="lost"):
        next(stream)


def test_prefetch_is_bounded_and_ends_with_its_consumer() -> None:
    made: list[int] = []
    closed = threading.Event()

    def items() -> Any:
        try:
            for i in range(1000):
                made.append(i)
                yield i
        finally:
            closed.set()

    before = threading.active_count()
    stream = prefetch(items, depth=2)
    assert next(stream) == 0
    time.sleep(0.2)
    assert len(made) <= 4
    stream.close()  # type: ignore[attr-defined]
    assert closed.is_set()
    assert threading.active_count() == before


# Prediction: each row exactly once.


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(0, 40), world=st.integers(1, 5), workers=st.integers(1, 3), size=st.integers(1, 9))
def test_exactly_once_for_any_ranks_and_workers(rows: int, world: int, workers: int, size: int) -> None:
    table = frame(rows)
    plan = Plan(snapshot_frame(table), world)
    found, spans = [], []
    for rank in range(world):
        for worker in range(workers):
            dataset = PlannedDataset(plan, table, Model(size), rank=rank, depth=rank % 2)
            with pytest.MonkeyPatch.context() as patch:
                info = SimpleNamespace(id=worker, num_workers=workers)
                patch.setattr(loader, "get_worker_info", lambda info=info: info)
                batches = list(dataset)
            found += ids(batches)
            spans += [number for batch in batches for number in range(*batch.rows.span)]  # type: ignore[union-attr]
    assert found == spans == list(range(rows))


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_worker_processes(folder: Path, context: str) -> None:
    store = LocalStore(folder)
    plan = Plan(snapshot_files(store, "parquet"), 2)
    found = []
    for rank in range(2):
        dataset = PlannedDataset(plan, store, Model(), rank=rank)
        data = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=context)
        found += ids(data)
        if context == "spawn":  # one rank is enough: each process imports torch
            found += ids(PlannedDataset(plan, store, Model(), rank=1))
            break
    assert sorted(found) == list(range(50))


def test_datasets_are_picklable(folder: Path) -> None:
    store = LocalStore(folder)
    made = snapshot_files(store, "parquet")
    for dataset in (PlannedDataset(Plan(made, 1), store, Model()), TrainingDataset(made, store, Model())):
        assert sorted(ids(pickle.loads(pickle.dumps(dataset)))) == list(range(50))


def test_the_batch_size_is_the_models_of_that_moment(folder: Path) -> None:
    store, model = LocalStore(folder), Model(4)
    dataset = PlannedDataset(Plan(snapshot_files(store, "parquet"), 1), store, model)
    assert {len(batch) for batch in dataset} == {4, 2}
    model.batch_size = 25
    assert [len(batch) for batch in dataset] == [25, 25]
    with pytest.raises(Json2VecError, match="rank 1 of 1"):
        PlannedDataset(dataset.plan, store, model, rank=1)


def test_read_errors_reach_the_consumer(folder: Path) -> None:
    store = LocalStore(folder)
    made = snapshot_files(store, "parquet")
    (folder / "3.parquet").write_bytes(b"x")
    with pytest.raises(Exception, match=r"3\.parquet changed"):
        list(PlannedDataset(Plan(made, 1), store, Model()))


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(1, 40), world=st.integers(2, 5), workers=st.integers(1, 3), size=st.integers(1, 9))
def test_padded_shares_have_equal_batches(rows: int, world: int, workers: int, size: int) -> None:
    plan = Plan(snapshot_frame(frame(rows)), world)
    lengths, found = set(), set()
    for rank in range(world):
        for worker in range(workers):
            dataset = PlannedDataset(plan, frame(rows), Model(size), rank=rank, padded=True)
            with pytest.MonkeyPatch.context() as patch:
                info = SimpleNamespace(id=worker, num_workers=workers)
                patch.setattr(loader, "get_worker_info", lambda info=info: info)
                ((start, stop),) = dataset.ranges()
            lengths.add(stop - start)
            found |= set(range(start, stop))
    assert len(lengths) == 1
    assert found == set(range(rows))


# Training: an epoch is every row, in another order each time, as many batches on every rank.


def epoch(dataset: TrainingDataset, number: int = 0, worker: int = 0, workers: int = 1) -> list[Batch]:
    dataset.set_epoch(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "get_worker_info", lambda: SimpleNamespace(id=worker, num_workers=workers))
        return list(dataset)


@pytest.mark.parametrize("sharding", ["file", "chunk", "record"])
@pytest.mark.parametrize("buffer", [1, 16])
def test_an_epoch_is_every_row_once(folder: Path, sharding: str, buffer: int) -> None:
    store = LocalStore(folder)
    made = snapshot_files(store, "parquet")
    options = {"sharding": sharding, "chunk_batch_size": 7, "observation_buffer_size": buffer, "file_buffer_size": 2}
    dataset = TrainingDataset(made, store, Model(), seed=1, **options)  # type: ignore[arg-type]
    first, second = epoch(dataset, 0), epoch(dataset, 1)
    assert sorted(ids(first)) == sorted(ids(second)) == list(range(50))
    assert ids(first) != ids(second)
    assert ids(first) == ids(epoch(dataset, 0))
    assert ids(first) != ids(epoch(TrainingDataset(made, store, Model(), seed=2, **options)))  # type: ignore[arg-type]
    assert {len(batch) for batch in first[:-1]} == {4}
    for batch in first:
        assert batch.rows is not None
        assert len(batch.rows.source) == len(batch)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 60), world=st.integers(1, 4), workers=st.integers(1, 3), rate=st.sampled_from([1.0, 0.5]),
    replacement=st.booleans(), chunk=st.integers(1, 20),
)  # fmt: skip
def test_all_ranks_have_as_many_batches(
    rows: int, world: int, workers: int, rate: float, replacement: bool, chunk: int
) -> None:
    table = frame(rows)
    made = snapshot_frame(table)
    counts, found = Counter(), []
    for rank in range(world):
        dataset = TrainingDataset(
            made, table, Model(3), rank=rank, world_size=world, sample_rate=rate, replacement=replacement,
            chunk_batch_size=chunk, observation_buffer_size=5,
        )  # fmt: skip
        for worker in range(workers):
            batches = epoch(dataset, 3, worker, workers)
            counts[rank] += len(batches)
            found += ids(batches)
    assert len(set(counts.values())) == 1
    if rate == 1.0 and not replacement:
        assert set(found) == set(range(rows))
        assert len(found) == rows or world > 1
        assert len(found) < rows + world * workers
    if rate == 0.5 and world == workers == 1:
        assert len(found) == max(1, round(rows / 2))
        assert replacement or len(set(found)) == len(found)


def test_ranks_stay_together_when_a_preprocessor_drops_rows(folder: Path) -> None:
    store = LocalStore(folder)
    made = snapshot_files(store, "parquet")
    drop = Preprocessor(lambda row: row if row["id"] % 10 < 3 else None)
    datasets = [
        TrainingDataset(made, store, Model(), rank=rank, world_size=2, preprocessor=drop, sharding="file")
        for rank in range(2)
    ]
    assert [len(epoch(dataset)) for dataset in datasets] == [7, 7]
    nothing = TrainingDataset(made, store, Model(), world_size=2, preprocessor=Preprocessor(lambda row: None))
    with pytest.raises(ProcessorError, match="gave no observation"):
        epoch(nothing)


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_shuffle_anew_each_epoch(folder: Path, persistent: bool) -> None:
    store = LocalStore(folder)
    dataset = TrainingDataset(snapshot_files(store, "parquet"), store, Model(), chunk_batch_size=5)
    data = EpochLoader(dataset, batch_size=None, num_workers=2, persistent_workers=persistent)
    first, second = ids(data), ids(data)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


# Data modules.


@pytest.mark.parametrize("lazy", [False, True])
def test_fit_without_validation_and_predict(lazy: bool) -> None:
    model = Model()
    data = PolarsDataModule(model, train=frame(10), predict=frame(9).lazy() if lazy else frame(9))
    trainer(max_epochs=2).fit(model, datamodule=data)
    assert Counter(model.seen) == Counter(list(range(10)) * 2)
    assert model.learned == list(range(10))
    predicted = trainer().predict(model, datamodule=data)
    assert predicted == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert data.predict_plan(3).share(2) == ((6, 9),)


def test_validation_and_test() -> None:
    model = Model(vocabularies=())
    data = PolarsDataModule(model, dataframe={"train": frame(4), "validate": frame(3, 100), "test": frame(2, 200)})
    trainer(max_epochs=1, num_sanity_val_steps=0).fit(model, datamodule=data)
    assert (sorted(model.seen), model.learned) == ([0, 1, 2, 3, 100, 101, 102], [])
    model.seen = []
    trainer().validate(model, datamodule=data, verbose=False)
    trainer().test(model, datamodule=data, verbose=False)
    assert model.seen == [100, 101, 102, 200, 201]


def test_streaming(folder: Path) -> None:
    model = Model()
    data = StreamingDataModule(
        model, root=folder, suffix="parquet", train=r"/[0-2]\.parquet$", predict=r"/[34]\.parquet$", seed=3
    )
    trainer(max_epochs=1).fit(model, datamodule=data)
    assert sorted(model.seen) == model.learned == list(range(12))
    predicted = trainer().predict(model, datamodule=data)
    assert [i for batch in predicted or [] for i in batch] == list(range(12, 50))  # type: ignore[union-attr]
    frozen = StreamingDataModule(model, folder, "parquet", predict=data.snapshot("predict"))
    assert frozen.predict_plan(2).digest == data.predict_plan(2).digest


def test_a_split_that_is_not_configured(folder: Path) -> None:
    data = StreamingDataModule(Model(), folder, "parquet", train="parquet")
    with pytest.raises(SchemaError, match=r"no predict split configured: StreamingDataModule has.*pass predict="):
        trainer().predict(Model(), datamodule=data)
    with pytest.raises(SchemaError, match="no validate split configured"):
        trainer().validate(Model(), datamodule=data)
    with pytest.raises(SchemaError, match="no test split"):
        trainer().test(Model(), datamodule=data)


def test_files_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no file below"):
        StreamingDataModule(Model(), folder, "parquet", predict="absent").predict_plan(1)
    with pytest.raises(ReadError, match="does not exist"):
        StreamingDataModule(Model(), tmp_path / "none", "parquet", predict=".").predict_plan(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has no split"),
        ({"predict": 1}, "must be a polars DataFrame or LazyFrame; got int"),
        ({"predict": frame(1), "dataframe": frame(1)}, "not both"),
        ({"predict": frame(1), "num_worker": 1}, "'num_worker' .did you mean 'num_workers'"),
        ({"predict": frame(1), "factor": 1}, "does not take .'factor'"),
        ({"predict": frame(1), "sample_rate": 0}, r"sample_rate of train must be in \(0, 1\]"),
        ({"predict": frame(1), "sharding": "chunks"}, "did you mean 'chunk'"),
        ({"predict": frame(1), "num_workers": {"predct": 1}}, "did you mean 'predict'"),
        ({"dataframe": {"predct": frame(1)}}, "no split 'predct'"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        PolarsDataModule(Model(), **options)


def test_streaming_options_that_cannot_be_meant(folder: Path) -> None:
    with pytest.raises(SchemaError, match="suffix 'parket' is unknown"):
        StreamingDataModule(Model(), folder, "parket", predict=".")
    with pytest.raises(SchemaError, match="no regular expression"):
        StreamingDataModule(Model(), folder, "parquet", predict="(")


def test_options_by_split() -> None:
    data = PolarsDataModule(Model(), train=frame(1), num_workers={"train": 2}, chunk_batch_size=9)
    assert [data.option("num_workers", s) for s in ("train", "predict")] == [2, 0]
    assert data.option("chunk_batch_size", "test") == 9


def test_preprocessors_of_training_and_prediction() -> None:
    def shifted(row: dict, *, by: int) -> dict:
        return {"id": row["id"] + by}

    model = Model()
    data = PolarsDataModule(model, train=frame(4), predict=frame(4), preprocessor=shifted, by=100)
    trainer(max_epochs=1).fit(model, datamodule=data)
    assert model.learned == [100, 101, 102, 103]
    assert model.preprocessor_fingerprint == data.preprocessor.fingerprint  # type: ignore[union-attr]
    assert trainer().predict(model, datamodule=data) == [[100, 101, 102, 103]]
    with pytest.warns(UserWarning, match="trained with a preprocessor of fingerprint"):
        trainer().predict(model, datamodule=PolarsDataModule(model, predict=frame(1)))
    strict = PolarsDataModule(model, predict=frame(1), preprocessor=shifted, by=99, strict_preprocessor=True)
    with pytest.raises(ProcessorError, match="trained with a preprocessor"):
        trainer().predict(model, datamodule=strict)
    with pytest.raises(ProcessorError, match="did you mean 'by'"):
        PolarsDataModule(model, predict=frame(1), preprocessor=shifted, bye=1)


def test_ranks_of_a_launcher_share_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        data = PolarsDataModule(Model(), predict=frame(10))
        found.append(ids(data.predict_dataloader()))
    assert [len(one) for one in found] == [4, 3, 3]
    assert [i for one in found for i in one] == list(range(10))


def test_planning_and_reading_need_no_torch(folder: Path) -> None:
    script = (
        "import sys, json; from json2vec.reading.snapshot import snapshot_files; "
        "from json2vec.reading.plan import Plan; "
        "from json2vec.reading.readers import read_rows; from json2vec.storage.local import LocalStore; "
        f"s = LocalStore({str(folder)!r}); m = snapshot_files(s, 'parquet'); p = Plan(m, 2); "
        "n = sum(len(b) for r in (0, 1) for b in read_rows(m, s, p.share(r), batch_size=8)); "
        "print(json.dumps([n, 'torch' in sys.modules, 'lightning' in sys.modules]))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [50, False, False]
