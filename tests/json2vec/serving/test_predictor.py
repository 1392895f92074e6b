"""Answers are those of `Model.predict`, and a record that fails does so alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from served import BAD, RECORDS, ask, close, deployment, doubled

import json2vec as j2v


def row(predictions: Any, index: int) -> Any:
    """One row of what `Model.predict` gives, as JSON has it."""
    if isinstance(predictions, dict):
        return {str(key): row(value, index) for key, value in predictions.items()}
    value = predictions[index]
    pairs = isinstance(value, list) and value and isinstance(value[0], tuple)
    return dict(value) if pairs else value


@pytest.mark.parametrize("settings", [{}, {"max_batch_size": 2}, {"max_batch_size": 4, "batch_timeout": 0.05}])
def test_the_same_numbers_as_predict_whatever_the_batching(model: Any, settings: dict) -> None:
    expected = model.predict(RECORDS)
    whole, *single = ask(deployment(model, **settings), RECORDS, *RECORDS)
    assert [one.status_code for one in (whole, *single)] == [200] * 7
    for index, answer in enumerate(single):
        assert answer.headers["content-type"] == "application/json"
        assert close(answer.json(), {"predictions": row(expected, index)}), index
        assert close(whole.json()[index], answer.json()), index
    label = single[0].json()["predictions"]["record/label"]
    assert label["content"]["value"] in ("gift", "drink")  # a scalar, no list of one
    assert set(single[0].json()["predictions"]["record/tags"]["content"]) == {"a", "b", "c"}


def test_bad_requests_never_fail_their_neighbours(model: Any) -> None:
    expected = model.predict(RECORDS)
    bad: list[Any] = [BAD, {"items": [3]}, {"merchant": {}}, "{", {"when": "?"}, [RECORDS[0], BAD]]
    mixed = [body for pair in zip(RECORDS, bad, strict=True) for body in pair]
    answers = ask(deployment(model, max_batch_size=64, batch_timeout=0.3), *mixed)
    assert [one.status_code for one in answers[1::2]] == [422, 422, 422, 400, 422, 422]
    for index, answer in enumerate(answers[::2]):
        assert answer.status_code == 200
        assert close(answer.json(), {"predictions": row(expected, index)}), index


def test_a_value_that_breaks_the_encoder_in_an_odd_way_stays_alone(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = model.encode

    def fragile(records: list[dict], *args: Any) -> Any:
        if any(record.get("odd") for record in records):
            raise MemoryError("odd")
        return encode(records, *args)

    monkeypatch.setattr(model, "encode", fragile)
    good, odd = ask(deployment(model, batch_timeout=0.3), RECORDS[0], {"amount": 1.0, "odd": True})
    assert (good.status_code, odd.status_code) == (200, 500)
    assert "MemoryError: odd" in odd.json()["error"]["message"]


@j2v.postprocess(columnar=True)
def scores(context: dict, predictions: pa.StructArray) -> Any:
    return {"score": predictions.field("record/label").field("content").field("probability")}


def test_columnar_processors(model: Any) -> None:
    made = deployment(model).preprocess(doubled, times=2).postprocess(scores)
    good, missing = ask(made, {"amount": 4.0}, {"merchant": "books"})
    expected = model.predict([{"amount": 8.0}])["record/label"]["content"]["probability"][0]
    assert close(good.json(), {"predictions": {"score": expected}})
    assert missing.status_code == 422
    assert "preprocessor 'doubled' raised KeyError" in missing.json()["error"]["message"]


def test_reconstruct(model: Any) -> None:
    assert "record/amount" in ask(deployment(model, reconstruct=["amount"]), {})[0].json()["predictions"]
    with pytest.raises(j2v.SchemaError, match="'amuont', which is no active leaf"):
        deployment(model, reconstruct=["amuont"]).app()
