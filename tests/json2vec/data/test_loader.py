"""Planned reading: exactly once for any ranks and workers, one step ahead, and nothing left behind."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_ids import Model, frame, ids
from torch.utils.data import DataLoader

from json2vec.data import loader
from json2vec.data.loader import PlannedDataset, prefetch
from json2vec.data.training import TrainingDataset
from json2vec.errors import Json2VecError
from json2vec.reading.plan import Plan
from json2vec.reading.snapshot import snapshot_files, snapshot_frame
from json2vec.storage.local import LocalStore

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # on purpose: a thread encodes
    "ignore:.*_pytree.*",
    "ignore:.*LeafSpec.*",
    "ignore:.*barrier.*",
    "ignore:Total length of `list` across ranks is zero",  # fit without a validate split
)


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
