"""What a field type encodes, by both paths, which must agree."""

from __future__ import annotations

import pyarrow as pa

import json2vec as j2v

V, N = int(j2v.Tokens.valued), int(j2v.Tokens.null)


def encode(field: j2v.Leaf, values: object, *, learn: object = None) -> tuple[list, dict]:
    """State and content of one root field, by both paths, which must agree."""
    model = j2v.Model.from_schema(field, j2v.Number("filler"), d_model=8, n_layers=1, n_heads=2)
    if learn is not None:
        model.learn([{field.name: value} for value in learn])  # type: ignore[attr-defined]
    results = []
    if not isinstance(values, pa.Array):
        results.append(model.encode([{field.name: value} for value in values]))  # type: ignore[attr-defined]
    array = values if isinstance(values, pa.Array) else None
    if array is None:
        try:
            array = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            array = None
    if array is not None:
        results.append(model.encode(pa.RecordBatch.from_arrays([array], names=[field.name])))
    found = [
        (one.state.flatten().tolist(), {key: value.flatten(0, 1).tolist() for key, value in one.content.items()})
        for one in (result.fields[j2v.Address("record", field.name)] for result in results)
    ]
    for other in found[1:]:
        assert other == found[0]
    return found[0]
