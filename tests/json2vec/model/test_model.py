"""The model: one record, one prediction, whatever surrounds it; training; devices."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from every_field import DEVICE_ROWS, LABELS, frame, make, numbers, trainable, trainer
from hypothesis import given, settings
from hypothesis import strategies as st

import json2vec as j2v

stop = st.none() | st.fixed_dictionaries(
    {}, optional={"mode": st.none() | st.sampled_from([*LABELS, "?", j2v.MASK_LITERAL])}
)
item = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "price": st.none() | st.floats(-1e6, 1e6, width=32),
        "sku": st.none() | st.sampled_from(LABELS),
        "who": st.none() | st.sampled_from("xyz"),
        "stops": st.none() | st.lists(stop, max_size=4),
    },
)
records = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "amount": st.none() | st.floats(width=32, allow_nan=True),
            "tags": st.none() | st.lists(st.sampled_from([*LABELS, "unknown"]), max_size=3),
            "when": st.none() | st.sampled_from(["2020-02-29T13:05", "1969-12-31"]),
            "vec": st.none() | st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=2),
            "items": st.none() | st.lists(item, max_size=5),
        },
    ),
    min_size=1,
    max_size=12,
)
MODEL = make()


@settings(max_examples=40, deadline=None)
@given(records, st.integers(1, 5))
def test_a_record_predicts_the_same_alone_and_in_any_batch(rows: list[dict], batch_size: int) -> None:
    MODEL.batch_size = batch_size
    together = MODEL.predict(rows)
    MODEL.batch_size = 64
    alone = [MODEL.predict([row]) for row in rows]
    for address, payload in together.items():
        one_by_one = numbers(
            [[part[address]["content"] if "content" in part[address] else part[address]] for part in alone]
        )
        whole = numbers([payload.get("content", payload)])
        a, b = np.sort(whole), np.sort(one_by_one)
        assert a.shape == b.shape
        assert (np.abs(a - b) <= 1e-5 + 1e-5 * np.abs(b)).all(), address


def test_it_learns_without_a_validate_split_and_speaks_raw_units() -> None:
    model, data = trainable(), frame()
    trainer(max_epochs=40).fit(model, j2v.PolarsDataModule(model=model, train=data))
    rows = data.to_dicts()
    predicted = model.predict(rows)
    right = [a == row["label"] for a, row in zip(predicted["record/label"]["content"]["value"], rows, strict=True)]
    assert np.mean(right) > 0.9
    errors = [
        abs(a - row["score"]) for a, row in zip(predicted["record/score"]["content"], rows, strict=True) if row["score"]
    ]
    assert np.mean(errors) < 40  # a head in normalised units would be about 1000 off
    norms = np.linalg.norm(predicted["record"]["embedding"], axis=1)
    assert np.allclose(norms, 1, atol=1e-5)


def test_fit_without_an_optimizer_is_explained() -> None:
    model = make()
    with pytest.raises(j2v.SchemaError, match="no optimizer"):
        trainer(max_epochs=1).fit(model, j2v.PolarsDataModule(model=model, train=frame(16)))


def test_arrow_tables_and_records_encode_alike() -> None:
    model, data = make(), frame(5)
    table = model.encode(data.to_arrow())
    rows = model.encode(data.to_dicts())
    for address, field in table.fields.items():
        assert torch.equal(field.state, rows.fields[address].state), address
        for key, value in field.content.items():
            assert torch.equal(value, rows.fields[address].content[key]), address
    assert model.encode(pa.table({"amount": pa.array([], pa.float64())})).size == 0


@pytest.mark.parametrize("padding", ["attend", "skip"])
def test_the_network_never_waits_for_the_device(padding: str) -> None:
    """A decision by a tensor's value, or a shape that depends on one, fails on torch's ``meta`` device, where
    there are no values; on a GPU it would wait."""
    model = make(padding)
    batch, every_leaf = model.encode(DEVICE_ROWS), list(model.schema.active)
    expected = model.infer(batch, every_leaf).emitted
    found = model.to("meta").infer(batch.to("meta"), every_leaf).emitted
    assert set(found) >= set(every_leaf)
    for address, tensors in found.items():
        assert {key: tensor.shape for key, tensor in tensors.items()} == {
            key: tensor.shape for key, tensor in expected[address].items()
        }
        assert all(tensor.is_meta for tensor in tensors.values())
