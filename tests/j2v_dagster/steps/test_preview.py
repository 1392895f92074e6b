"""What the UI shows of the rows that pass into the table."""

from __future__ import annotations

import pyarrow as pa

from j2v_dagster.steps.preview import MAX_LABELS, Shown
from j2v_dagster.warehouse.columns import parse_columns

COLUMNS = parse_columns(
    {"id": "inputs.id", "label": 'predictions["record/label"].content.value', "free": 'predictions["record/x"].text',
     "score": 'predictions["record/x"].score'},
    partition_column="partition",
)  # fmt: skip


def batches(rows: int, size: int = 100) -> list[pa.RecordBatch]:
    table = pa.table({
        "id": [f"r{n}" for n in range(rows)], "label": [None if n % 10 == 0 else f"l{n % 30}" for n in range(rows)],
        "free": [f"text {n} " + "x" * 100 for n in range(rows)], "score": [n / 2 for n in range(rows)],
    })  # fmt: skip
    return table.to_batches(max_chunksize=size)


def test_the_first_rows_and_the_labels_of_all_are_shown() -> None:
    given = batches(3000)
    shown = Shown(COLUMNS, given[0].schema, 150)
    assert list(shown.watch(iter(given))) == given, "nothing is changed on the way"
    metadata = shown.metadata()
    assert set(metadata) == {"sample_rows", "distribution label"}, "no inputs, no numbers, no texts without end"
    records = metadata["sample_rows"].records
    assert [record.data["id"] for record in records] == [f"r{n}" for n in range(150)]
    assert all(len(record.data["free"]) == 80 for record in records)
    rows = [record.data for record in metadata["distribution label"].records]
    assert rows[0] == {"label": "None", "rows": 300, "share": 0.1}
    assert rows[-1]["label"] == "(8 more)"
    assert sum(row["rows"] for row in rows) == 3000
    assert MAX_LABELS < 3000


def test_nothing_is_kept_of_private_or_no_rows() -> None:
    given = batches(10)
    shown = Shown(COLUMNS, given[0].schema, 0)
    list(shown.watch(iter(given)))
    assert "sample_rows" not in shown.metadata()
    empty = Shown(COLUMNS, given[0].schema, 5)
    assert list(empty.watch(iter([]))) == []
    assert empty.metadata() == {}
