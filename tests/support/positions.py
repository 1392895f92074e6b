"""A nested schema, its Arrow type, and the column of one of its leaves."""

from __future__ import annotations

import pyarrow as pa

import json2vec as j2v
from json2vec.columns import LeafColumn
from json2vec.fields.encode import resolve

V, N, P, M = (int(j2v.Tokens[name]) for name in ("valued", "null", "padded", "masked"))

SCHEMA = j2v.Schema.from_schema(
    j2v.Number("a"),
    j2v.Number("deep", query="[*].o.k"),
    j2v.Array(
        j2v.Number("p"),
        j2v.Category("c"),
        j2v.Array(j2v.Number("q"), name="in", max_length=2, overflow="tail"),
        name="items",
        max_length=3,
    ),
    d_model=8, n_layers=1, n_heads=2,
)  # fmt: skip
TYPE = pa.schema(
    [
        ("a", pa.float64()),
        ("o", pa.struct([("k", pa.float64())])),
        (
            "items",
            pa.list_(
                pa.struct([("p", pa.float64()), ("c", pa.string()), ("in", pa.list_(pa.struct([("q", pa.int64())])))])
            ),
        ),
    ]
)


def batch(records: list[dict]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(records, TYPE)


def leaf(rows: object, *parts: str) -> LeafColumn:
    return resolve(rows, SCHEMA, j2v.Address("record", *parts), predict=True)  # type: ignore[arg-type]
