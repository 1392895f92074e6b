"""The inputs beside the predictions are compared with the source, as far as they are there."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

import json2vec as j2v


def test_changed_inputs_fail(write: Any) -> None:
    folder = write()

    def change(table: pa.Table) -> pa.Table:
        rows = table["inputs"].to_pylist()
        rows[3]["merchant"] = "changed"
        return table.set_column(0, table.schema.field(0), pa.array(rows, table.schema.field(0).type))

    folder.edit("rank-0.parquet", change)
    finding = folder.verify().finding("inputs")
    assert finding.counts["different"] == 1
    assert finding.examples == ("a.parquet row 3 in rank-0.parquet differs in column 'merchant'",)


def test_a_wrong_hash_fails(write: Any) -> None:
    folder = write(inputs=False)

    def change(table: pa.Table) -> pa.Table:
        source = table["source"].to_pylist()
        source[5]["hash"] ^= 1
        return table.set_column(1, table.schema.field(1), pa.array(source, table.schema.field(1).type))

    folder.edit("rank-0.parquet", change)
    finding = folder.verify().finding("inputs")
    assert finding.passed is False
    assert finding.examples == ("a.parquet row 5 in rank-0.parquet carries the hash of another row",)


def test_without_inputs_they_are_not_proven(write: Any) -> None:
    folder = write(inputs=False)
    report = folder.verify()
    assert report.finding("inputs").passed is None
    assert not report.passed
    assert folder.verify(require=["files", "coverage", "schema", "values", "replay"]).passed
    assert j2v.read_predictions(folder.path).collect_schema().names() == ["predictions", "source"]


def test_some_inputs_are_compared_and_the_rest_is_not_proven(write: Any) -> None:
    finding = write(inputs=["id", "merchant"]).verify().finding("inputs")
    assert finding.passed is None
    assert "['amount', 'items'] cannot be compared" in finding.found
