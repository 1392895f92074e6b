"""Rows that cannot be encoded are set aside alone; without quarantine they are named."""

from __future__ import annotations

import pytest
from small_batches import make_model, make_rows

from json2vec.data.loader import PlannedDataset
from json2vec.errors import EncodeError
from json2vec.reading.plan import Plan
from json2vec.reading.snapshot import snapshot_frame


def test_a_value_that_cannot_be_encoded_is_named_by_its_own_batch() -> None:
    rows = make_rows(43, bad=18)
    dataset = PlannedDataset(Plan(snapshot_frame(rows), 1), rows, make_model())
    seen = []
    with pytest.raises(EncodeError, match=r"price.*'a lot'.*row 18"):
        seen.extend(batch.size for batch in dataset)
    assert seen == [4]


def test_a_value_that_cannot_be_encoded_is_set_aside_alone() -> None:
    rows = make_rows(43, bad=18)
    dataset = PlannedDataset(Plan(snapshot_frame(rows), 1), rows, make_model(), on_bad_row="quarantine")
    batches = list(dataset)
    assert [batch.size for batch in batches] == [4] * 4 + [3] + [4] * 5 + [3]
    rejected = batches[4].rows.rejected  # type: ignore[union-attr]
    assert rejected is not None
    assert rejected.row.to_pylist() == [18]
