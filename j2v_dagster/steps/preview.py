"""A look at the rows on their way into the table: a few of them, and how the predicted labels are distributed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute

from j2v_dagster.steps.result import table_metadata
from j2v_dagster.warehouse.columns import ColumnPath
from json2vec.reading.records import records

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
MAX_LABELS = 1_000
"""A column with more different values than this is no label."""

SHOWN_LABELS = 20
_MAX_TEXT = 80


class Shown:
    """Watches the batches of a load pass: keeps the first rows and counts the predicted labels.

    Args:
        columns: the path in the rank files of each table column, by the column's name. Labels are the texts and the
            truth values among those that come from ``predictions``.
        schema: the table's Arrow schema.
        rows: number of rows to keep.
    """

    def __init__(self, columns: Mapping[str, ColumnPath], schema: pa.Schema, rows: int) -> None:
        self._limit = rows
        self._sample: list[dict[str, Any]] = []
        self._counts: dict[str, Counter[str]] = {
            column.name: Counter()
            for column in schema
            if columns[column.name].root == "predictions" and _is_label(column.type)
        }

    def watch(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the same batches, each once it has been looked at."""
        for batch in batches:
            if len(self._sample) < self._limit:
                self._sample += records(batch.slice(0, self._limit - len(self._sample)))
            for name in list(self._counts):
                for counted in pc.value_counts(batch.column(name)):
                    self._counts[name][str(counted["values"])] += counted["counts"].as_py()
                if len(self._counts[name]) > MAX_LABELS:
                    del self._counts[name]
            yield batch

    def metadata(self) -> dict[str, Any]:
        """The metadata for the UI: ``sample_rows``, and ``distribution COLUMN`` of each column of labels.

        A distribution begins with the most frequent label.
        """
        metadata: dict[str, Any] = {}
        if self._sample:
            short = [{name: _short(value) for name, value in row.items()} for row in self._sample]
            metadata["sample_rows"] = table_metadata(short)
        for name, counts in self._counts.items():
            total = counts.total()
            rows = [
                {"label": _short(label), "rows": count, "share": round(count / total, 4)}
                for label, count in counts.most_common(SHOWN_LABELS)
            ]
            if len(counts) > SHOWN_LABELS:
                others = total - sum(row["rows"] for row in rows)
                rows.append({"label": f"({len(counts) - SHOWN_LABELS} more)", "rows": others,
                             "share": round(others / total, 4)})  # fmt: skip
            if rows:
                metadata[f"distribution {name}"] = table_metadata(rows)
        return metadata


def _is_label(arrow_type: pa.DataType) -> bool:
    types = pa.types
    return types.is_string(arrow_type) or types.is_large_string(arrow_type) or types.is_boolean(arrow_type)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
