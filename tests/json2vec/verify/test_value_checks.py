"""Values that cannot be are named with their rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from json2vec.verify.value_checks import ValueCheck


def test_values_below_arrays_are_checked_and_their_rows_named() -> None:
    states = {name: [0.2, 0.2] for name in ("valued", "null", "padded", "masked", "other")}
    good = {
        "record/a/x": {"state": states, "content": [("k", 0.5)]},
        "record/a": {"embedding": [[1.0, 0.0], [0.6, 0.8]]},
    }
    kind = pa.struct(
        [
            ("record/a/x", pa.struct([("state", pa.struct([(name, pa.list_(pa.float32())) for name in states])),
                                      ("content", pa.map_(pa.string(), pa.float32()))])),
            ("record/a", pa.struct([("embedding", pa.list_(pa.list_(pa.float32())))])),
        ]
    )  # fmt: skip

    def check(row: dict) -> Any:
        made = ValueCheck({"record/a/x": ["k"]})
        made.add(pa.array([good, good, row, good], kind).slice(1), lambda index: f"row {index}")
        return made.finding(postprocessed=False)

    assert check(good).passed
    wrong = check({**good, "record/a": {"embedding": [[1.0, 0.0], [0.6, 0.9]]}})
    assert wrong.examples == ("record/a.embedding of row 1 is not of unit length (1.08167)",)
    wrong = check({**good, "record/a/x": {"state": {**states, "null": [0.2, 0.3]}, "content": [("j", 2.0)]}})
    assert wrong.examples == (
        "record/a/x.state of row 1 does not sum to 1",
        "record/a/x.content of row 1 is not in the vocabulary",
        "record/a/x.content of row 1 is no probability (2)",
    )


def test_impossible_values_are_named(write: Any) -> None:
    folder = write()

    def change(table: pa.Table) -> pa.Table:
        rows = table["predictions"].to_pylist()
        rows[2]["record/label"]["content"]["probability"] = 1.5
        rows[4]["record/label"]["state"]["valued"] += 0.25
        rows[6]["record/label"]["content"]["value"] = "unheard of"
        rows[9]["record"]["embedding"][0] += 2.0
        rows[10]["record/score"]["content"] = float("inf")
        place = table.schema.get_field_index("predictions")
        return table.set_column(place, table.schema.field(place), pa.array(rows, table.schema.field(place).type))

    folder.edit("rank-0.parquet", change)
    finding = folder.verify().finding("values")
    assert finding.passed is False
    text = "; ".join(finding.examples)
    for row, what in ((2, "is no probability (1.5)"), (4, "does not sum to 1"), (6, "is not in the vocabulary"),
                      (9, "is not of unit length"), (10, "is not finite")):  # fmt: skip
        assert f"a.parquet, row {row} {what}" in text, text
