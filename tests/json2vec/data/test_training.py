"""Training: an epoch is every row, in another order each time, as many batches on every rank."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_ids import Model, frame, ids

from json2vec.batch import Batch
from json2vec.data import training
from json2vec.data.training import EpochLoader, TrainingDataset
from json2vec.errors import ProcessorError
from json2vec.processors import Preprocessor
from json2vec.reading.snapshot import snapshot_files, snapshot_frame
from json2vec.storage.local import LocalStore

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # on purpose: a thread encodes
    "ignore:.*_pytree.*",
    "ignore:.*LeafSpec.*",
    "ignore:.*barrier.*",
    "ignore:Total length of `list` across ranks is zero",  # fit without a validate split
)


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
