"""Rows of equal hash are encoded alike: else an incremental run would keep the prediction of another value."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import json2vec as j2v
from json2vec.reading.row_hash import row_hash

NAN_BITS = (0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8 << 48)
NANS = [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in NAN_BITS]
FLOATS = [0.0, -0.0, *NANS, 5e-324, -5e-324, float(2**53), float(2**53 + 2), 1.5, float("inf"), None]
TEXTS = ["", "é", "e\u0301", "0", "-0", "nan", " ", None]
TIMES = [datetime(1970, 1, 1, tzinfo=UTC), datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC), None]
NUMBERS = {
    "float32": (pa.float32(), FLOATS), "float64": (pa.float64(), FLOATS),
    "int64": (pa.int64(), [0, 1, 2**53, 2**53 + 1, -(2**63), None]),
    "uint64": (pa.uint64(), [0, 2**53 + 1, 2**64 - 1, None]), "bool": (pa.bool_(), [True, False, None]),
}  # fmt: skip
LABELS = {
    **NUMBERS, "string": (pa.string(), TEXTS), "large": (pa.large_string(), TEXTS), "view": (pa.string_view(), TEXTS),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), TEXTS),
    "decimal": (pa.decimal128(20, 4), [Decimal("1.5"), Decimal("1.5000"), Decimal("0"), Decimal("-0.0000"), None]),
    "date": (pa.date32(), [one and one.date() for one in TIMES]), "utc": (pa.timestamp("us", "UTC"), TIMES),
    "zone": (pa.timestamp("ns", "Asia/Kolkata"), TIMES),
}  # fmt: skip

def fields() -> list[tuple[Any, pa.DataType, list[Any]]]:
    """Each field type over each Arrow type that it takes, with values that look alike or lie at an edge."""
    found: list[tuple[Any, pa.DataType, list[Any]]] = []
    for arrow_type, values in LABELS.values():
        found.append((j2v.Category("x", max_vocab_size=64), arrow_type, values))
        found.append((j2v.Set("x", max_vocab_size=64), pa.list_(arrow_type), [[a, b] for a in values for b in values]))
        found.append((j2v.Array(j2v.Entity("x"), name="a", max_length=4), arrow_type, values))
    found += [(j2v.Number("x"), arrow_type, values) for arrow_type, values in NUMBERS.values()]
    found += [(j2v.Vector("x", n_dim=2), pa.list_(pa.float64()), [[a, b] for a in FLOATS[:2] for b in FLOATS[:2]])]
    return found


def check(field: Any, batch: pa.RecordBatch) -> int:
    """Encode a batch with a model that has learned it; the number of pairs of rows with equal hashes."""
    model = j2v.Model.from_schema(
        field, j2v.Category("label", max_vocab_size=4, target=True), d_model=8, n_layers=1, n_heads=2, batch_size=64
    )
    model.learn(batch)
    (encoded,) = model.encode(batch).fields.values()
    hashes, pairs = row_hash(batch), 0
    for one in range(len(hashes)):
        for other in np.flatnonzero(hashes[:one] == hashes[one]):
            pairs += 1
            for tensor in (encoded.state, *encoded.content.values()):
                assert torch.equal(tensor[one], tensor[int(other)]), (batch[0][one], batch[0][int(other)])
    return pairs


@pytest.mark.parametrize("number", range(len(fields())))
def test_equal_hashes_are_equal_encodings(number: int) -> None:
    field, arrow_type, values = fields()[number]
    if isinstance(field, j2v.Array):
        rows = [[{"x": a}, {"x": b}] for a in values for b in values] * 2
        batch = pa.RecordBatch.from_pydict({"a": pa.array(rows, pa.list_(pa.struct([("x", arrow_type)])))})
    else:
        batch = pa.RecordBatch.from_pydict({"x": pa.array([*values, *values], arrow_type)})
    assert check(field, batch) > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(FLOATS[:-1]) | st.floats(), min_size=1, max_size=12), st.sampled_from(["<f4", "<f8"]))
def test_any_floats(values: list[float], kind: str) -> None:
    with np.errstate(over="ignore"):
        array = pa.array(np.array(values).astype(kind))
    check(j2v.Category("x", max_vocab_size=64), pa.RecordBatch.from_pydict({"x": pa.concat_arrays([array, array])}))


def test_a_label_that_was_learned_is_found_with_the_other_sign() -> None:
    for first, second in ((0.0, -0.0), (-0.0, 0.0)):
        model = j2v.Model.from_schema(
            j2v.Category("x", max_vocab_size=8), j2v.Category("label", max_vocab_size=4, target=True), d_model=8,
            n_layers=1, n_heads=2, batch_size=8,
        )  # fmt: skip
        model.learn([{"x": first}])
        for batch in (pa.RecordBatch.from_pydict({"x": [second, first]}), [{"x": second}, {"x": first}]):
            (encoded,) = model.encode(batch).fields.values()
            assert encoded.content["value"].flatten().tolist() == [0, 0]
