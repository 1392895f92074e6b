"""Batches that are encoded together come out as if each had been encoded alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
import torch
from small_batches import make_model, make_rows

import json2vec as j2v
from json2vec.batch import Batch
from json2vec.data import encode_groups
from json2vec.data.encode_groups import encode_together
from json2vec.data.loader import PlannedDataset
from json2vec.reading.plan import Plan
from json2vec.reading.readers import read_rows
from json2vec.reading.row_batch import RowBatch
from json2vec.reading.snapshot import snapshot_frame


def row_batches(rows: pa.Table, size: int) -> list[RowBatch]:
    return list(read_rows(snapshot_frame(rows), rows, [(0, rows.num_rows)], batch_size=size))


def grouped(model: Any, batches: list[RowBatch]) -> list[list[Batch]]:
    return list(encode_together(batches, model.encode, model.encode))


def equal(one: Batch, other: Batch) -> bool:
    assert one.fields.keys() == other.fields.keys()
    return one.size == other.size and all(
        torch.equal(one.fields[at].state, other.fields[at].state)
        and all(torch.equal(value, other.fields[at].content[key]) for key, value in one.fields[at].content.items())
        for at in one.fields
    )


def test_groups_hold_what_each_batch_alone_gives() -> None:
    model, batches = make_model(), row_batches(make_rows(43), 4)
    groups = grouped(model, batches)
    assert [len(group) for group in groups] == [1, 10]
    found = [batch for group in groups for batch in group]
    assert [batch.rows for batch in found] == batches
    assert all(equal(batch, model.encode(rows)) for batch, rows in zip(found, batches, strict=True))


@pytest.mark.parametrize(("rows", "size", "expected"), [(8, 1 << 30, [1, 2, 2, 2, 2, 2]), (8192, 1, [1] * 11)])
def test_groups_stay_within_rows_and_bytes(
    monkeypatch: pytest.MonkeyPatch, rows: int, size: int, expected: list[int]
) -> None:
    monkeypatch.setattr(encode_groups, "MOST_ROWS", rows)
    monkeypatch.setattr(encode_groups, "MOST_BYTES", size)
    assert [len(group) for group in grouped(make_model(), row_batches(make_rows(43), 4))] == expected


def test_nothing_to_encode_gives_no_group() -> None:
    assert grouped(make_model(), []) == []


def test_a_schema_that_is_learned_late_begins_a_new_group() -> None:
    """`lambda row: row` over a column that is null at first: its type becomes known with a later batch."""
    rows = pa.table({"price": [float(n) for n in range(40)], "town": [None if n < 18 else "Ulm" for n in range(40)]})
    plan = Plan(snapshot_frame(rows), 1)
    found = list(PlannedDataset(plan, rows, make_model(), preprocessor=lambda row: {**row, "city": row["town"]}))
    assert [batch.size for batch in found] == [4] * 10
    state = torch.cat([batch.fields[j2v.Address("record/city")].state.flatten() for batch in found])
    assert state.tolist() == [int(j2v.Tokens.null)] * 18 + [int(j2v.Tokens.valued)] * 22


def test_batches_without_rows_are_encoded_alone() -> None:
    """What resume leaves of a plan, one part of which a preprocessor drops: its batch has the input's columns."""

    @j2v.preprocess(schema=pa.schema([("price", pa.float64()), ("city", pa.string())]))
    def renamed(row: dict) -> dict | None:
        return None if 40 <= row["price"] < 50 else {"price": row["price"], "city": row["town"]}

    rows = pa.table({"price": [float(n) for n in range(100)], "town": ["Ulm"] * 100})
    plan = Plan(snapshot_frame(rows), 1, ((0, 20), (40, 50), (70, 100)))
    found = list(PlannedDataset(plan, rows, make_model(), preprocessor=renamed))
    spans = [batch.rows.span for batch in found if batch.rows is not None]
    assert sum(batch.size for batch in found) == 50
    assert (0, (40, 50)) in [(batch.size, span) for batch, span in zip(found, spans, strict=True)]
    assert sum(stop - start for start, stop in spans) == 60


def test_columns_that_no_model_reads_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_groups, "MOST_BYTES", 100_000)
    rows = make_rows(43).append_column("note", pa.array(["x" * 10_000] * 43))
    assert [len(group) for group in grouped(make_model(), row_batches(rows, 4))] == [1, 2, 2, 2, 2, 2]


def test_a_first_batch_without_rows_leaves_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of the first batch are set aside, so that it does not tell how large a row becomes."""
    model = make_model()
    monkeypatch.setattr(encode_groups, "MOST_BYTES", 5 * model.encode(row_batches(make_rows(4), 4)[0]).nbytes)
    batches = row_batches(make_rows(43), 4)

    def rejecting(rows: RowBatch) -> Batch:
        return model.encode(rows).slice(0, 0) if rows is batches[0] else model.encode(rows)

    groups = list(encode_together(batches, model.encode, rejecting))
    assert [len(group) for group in groups] == [1, 1, 5, 4]
