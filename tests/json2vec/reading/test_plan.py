"""Shares of a plan are the planned rows, each once, whatever the ranks, workers and intervals."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json2vec.enums import Suffix
from json2vec.errors import Json2VecError
from json2vec.reading.plan import FileRange, Plan
from json2vec.reading.snapshot import FILES_SCHEMA, Snapshot


def snapshot(rows: list[int]) -> Snapshot:
    n = len(rows)
    columns = {"path": [f"{i:03}.parquet" for i in range(n)], "size": [1] * n, "version": ["1"] * n, "rows": rows}
    return Snapshot("/root", Suffix.parquet, pa.table(columns, schema=FILES_SCHEMA), pa.schema([("a", pa.int64())]))


def numbers(ranges: Any) -> list[int]:
    return [row for start, stop in ranges for row in range(start, stop)]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    made = snapshot(draw(st.lists(st.integers(0, 9), min_size=1, max_size=8)))
    bounds = sorted(draw(st.sets(st.integers(0, made.rows), max_size=8)))
    intervals = tuple(zip(bounds[::2], bounds[1::2], strict=False))
    world = draw(st.integers(1, 7))
    return Plan(made, world, intervals) if draw(st.booleans()) else Plan(made, world)


@settings(deadline=None)
@given(plans(), st.integers(1, 4))
def test_every_planned_row_is_in_one_share(plan: Plan, workers: int) -> None:
    shares = [plan.share(rank, worker, workers) for rank in range(plan.world_size) for worker in range(workers)]
    assert numbers(itertools.chain(*shares)) == numbers(plan.intervals)
    assert plan.rows == len(numbers(plan.intervals))
    by_rank = [len(numbers(plan.share(rank))) for rank in range(plan.world_size)]
    assert max(by_rank) - min(by_rank) <= 1
    for rank in range(plan.world_size):
        workers_rows = [numbers(plan.share(rank, worker, workers)) for worker in range(workers)]
        assert list(itertools.chain(*workers_rows)) == numbers(plan.share(rank))


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
def test_locate_finds_the_rows_of_files(rows: list[int], data: st.DataObject) -> None:
    made = snapshot(rows)
    start = data.draw(st.integers(0, made.rows))
    stop = data.draw(st.integers(start, made.rows))
    every = [(file, row) for file, count in enumerate(rows) for row in range(count)]
    found = list(Plan(made, 1).locate(start, stop))
    assert [(part.file, row) for part in found for row in range(part.start, part.stop)] == every[start:stop]
    assert all(part.start < part.stop for part in found)


def test_a_plan_of_nothing() -> None:
    plan = Plan(snapshot([0, 0]), 3)
    assert plan.intervals == ()
    assert [plan.share(rank) for rank in range(3)] == [(), (), ()]
    assert list(plan.locate(0, 0)) == []


def test_few_rows_go_to_the_first_ranks() -> None:
    plan = Plan(snapshot([1, 1]), 4)
    assert [plan.share(rank) for rank in range(4)] == [((0, 1),), ((1, 2),), (), ()]


def test_digests_tell_plans_apart() -> None:
    made = snapshot([5, 5])
    plans = [Plan(made, 1), Plan(made, 2), Plan(made, 1, ((0, 5),)), Plan(made, 1, ()), Plan(snapshot([10]), 1)]
    assert len({plan.digest for plan in plans}) == len(plans)
    assert Plan(made, 1, ((0, 10),)).digest == Plan(made, 1).digest


@pytest.mark.parametrize("intervals", [((0, 11),), ((3, 2),), ((0, 5), (4, 6)), ((5, 6), (0, 1)), ((-1, 3),)])
def test_intervals_that_cannot_be_meant(intervals: Any) -> None:
    with pytest.raises(Json2VecError, match="ascending, disjoint"):
        Plan(snapshot([10]), 1, intervals)


def test_ranks_that_are_not_in_the_plan() -> None:
    with pytest.raises(Json2VecError, match="rank 2 of 2"):
        Plan(snapshot([10]), 2).share(2)
    with pytest.raises(Json2VecError, match="at least 1 rank"):
        Plan(snapshot([10]), 0)


def test_many_files_are_located_fast() -> None:
    made = snapshot([3] * 1000)
    assert list(Plan(made, 1).locate(2998, 3000)) == [FileRange(999, 1, 3)]
    assert np.array_equal(made.starts, np.arange(1001) * 3)
