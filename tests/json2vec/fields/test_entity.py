"""What Entity encodes."""

from __future__ import annotations

import pyarrow as pa

import json2vec as j2v


def test_entity_ids_are_per_row() -> None:
    model = j2v.Model.from_schema(
        j2v.Array(j2v.Entity("who"), name="legs", max_length=4), d_model=8, n_layers=1, n_heads=2
    )
    records = [
        {"legs": [{"who": "b"}, {"who": "a"}, {"who": "b"}]},
        {"legs": [{"who": "a"}, {"who": None}, {"who": "c"}, {"who": "a"}]},
    ]
    for rows in (records, pa.RecordBatch.from_pylist(records)):
        field = model.encode(rows).fields[j2v.Address("record/legs/who")]
        assert field.content["value"].reshape(2, 4).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
