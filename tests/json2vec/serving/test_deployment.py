"""The service: the same numbers as `Model.predict`, and every fault with the status it deserves."""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import torch
from pydantic import BaseModel, Field

import json2vec as j2v

RECORDS = [
    {"amount": 12.5, "merchant": "books", "items": [{"price": 1.5}, {"price": None}]},
    {"amount": 8, "merchant": "coffee", "items": []},
    {"amount": None, "merchant": "unknown"},
    {"amount": "7.25", "merchant": "books", "items": [{"price": 3.0}, {}, {"price": 2}]},
    {},
    {"amount": j2v.MASK_LITERAL, "merchant": None, "when": "2024-05-06T07:08"},
]
BAD = {"amount": "twelve"}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    made = j2v.Model.from_schema(
        j2v.Number("amount"),
        j2v.Category("merchant", max_vocab_size=8),
        j2v.DateParts("when", dateparts=["hour_of_day"]),
        j2v.Array(j2v.Number("price", target=True), j2v.Number("weight"), name="items", max_length=3),
        j2v.Category("label", target=True, max_vocab_size=8, topk=[2]),
        j2v.Set("tags", target=True, max_vocab_size=8),
        d_model=16, n_layers=1, n_heads=4, batch_size=4, embed=True,
    )  # fmt: skip
    made.learn([{"merchant": "books", "label": "gift", "tags": ["a"]}, {"label": "drink", "tags": ["b", "c"]}])
    return made.eval()


def deployment(model: Any, **settings: Any) -> j2v.Deployment:
    return j2v.Deployment(model=model, accelerator="cpu", **settings)


def ask(made: j2v.Deployment, *bodies: Any) -> list[httpx.Response]:
    """Post all bodies at once; texts and bytes as they are, anything else as JSON."""
    app = made.app()

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            posts = [
                client.post("/predict", content=body)
                if isinstance(body, str | bytes)
                else client.post("/predict", json=body)
                for body in bodies
            ]
            answers = await asyncio.gather(*posts)
        async with app.router.lifespan_context(app):
            pass  # ends the batcher's thread
        return answers

    return asyncio.run(run())


def close(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-5) if isinstance(a, float) and isinstance(b, float) else a == b


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


def test_nothing_gives_nothing(model: Any) -> None:
    answer = ask(deployment(model), [])[0]
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 400, "the body is not JSON"),
        ("", 400, "the body is not JSON"),
        (b"\xff", 400, "the body is not JSON"),
        ('{"amount": NaN}', 400, "the body is not JSON"),
        ("[" * 100_000, 400, "the body is not JSON"),
        ("3", 422, "expected an object, found a number"),
        ("null", 422, "expected an object, found null"),
        ([{}, []], 422, "1 of 2 records cannot be predicted; the first is item 1: expected an object, found an array"),
        (BAD, 422, "record/amount: expected a number, found str 'twelve'"),
        ({"amount": [1]}, 422, "record/amount"),
        ({"amount": {"a": 1}}, 422, "record/amount"),
        ({"merchant": {"a": 1}}, 422, "record/merchant"),
        ({"merchant": [["x"]]}, 422, "record/merchant"),
        ({"when": "yesterday"}, 422, "record/when"),
        ({"when": 17}, 422, "record/when"),
        ({"items": 3}, 422, "record/items"),
        ({"items": [3]}, 422, "record/items"),
        ({"items": [{"weight": "heavy"}]}, 422, "record/items/weight"),
        ([RECORDS[0], BAD, BAD], 422, "2 of 3 records cannot be predicted; the first is item 1: record/amount"),
    ],
)
def test_faults_have_a_status_and_name_the_field(model: Any, body: Any, status: int, message: str) -> None:
    answer = ask(deployment(model), body)[0]
    assert answer.status_code == status
    assert answer.json()["predictions"] == {}
    error = answer.json()["error"]
    assert error["status_code"] == status
    assert message in error["message"]


def test_the_items_at_fault_are_listed(model: Any) -> None:
    error = ask(deployment(model), [RECORDS[0], BAD, {}, {"when": 17}])[0].json()["error"]
    assert [one["item"] for one in error["items"]] == [1, 3]
    assert "record/when" in error["items"][1]["message"]


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
    good, odd = ask(deployment(model, batch_timeout=0.3), RECORDS[0], {"odd": True})
    assert (good.status_code, odd.status_code) == (200, 500)
    assert "MemoryError: odd" in odd.json()["error"]["message"]


def test_more_than_may_wait_is_503(model: Any) -> None:
    answer = ask(deployment(model, max_waiting=2), RECORDS)[0]
    assert answer.status_code == 503
    assert "at most 2 may wait" in answer.json()["error"]["message"]


def test_health_and_documentation(model: Any) -> None:
    app = deployment(model).forge(request=Purchase, response=Answer).app()

    async def get(path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
            return await client.get(path)

    assert asyncio.run(get("/health")).json() == {"status": "ok"}
    document = asyncio.run(get("/openapi.json")).json()
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["oneOf"][0] == {"$ref": "#/components/schemas/Purchase"}
    assert document["components"]["schemas"]["Purchase"]["required"] == ["transaction_amount"]
    assert (
        document["components"]["schemas"]["Purchase"]["properties"]["seller"]["$ref"] == "#/components/schemas/Seller"
    )
    assert document["components"]["schemas"]["Answer"]["properties"]["label"]["type"] == "string"


class Seller(BaseModel, strict=True):
    name: str = "books"
    since: datetime | None = None


class Purchase(BaseModel, extra="forbid"):
    amount: float = Field(alias="transaction_amount", ge=0)
    seller: Seller = Seller()


class Answer(BaseModel):
    label: str
    probability: float


def flatten(record: dict) -> dict | None:
    return None if record["amount"] == 0 else {"amount": record["amount"], "merchant": record["seller"]["name"]}


def label_only(context: dict, predictions: dict) -> dict:
    assert len(context["metadata"]) == 1
    label = predictions["record/label"]["content"]
    if context["request"]["amount"] == 99:
        return {"label": [], "probability": label["probability"]}
    return {"label": label["value"], "probability": label["probability"]}


def test_forged_and_processed(model: Any) -> None:
    made = deployment(model).forge(request=Purchase, response=Answer).preprocess(flatten).postprocess(label_only)
    bodies = [
        {"transaction_amount": 12.5, "seller": {"since": "2020-01-01T00:00:00"}},
        {"transaction_amount": -1},
        {"amount": 3},
        {"transaction_amount": 0},
        {"transaction_amount": 99},
    ]
    good, negative, other, dropped, misaligned = ask(made, *bodies)
    direct = model.predict([{"amount": 12.5, "merchant": "books"}])["record/label"]["content"]
    assert close(good.json(), {"predictions": {"label": direct["value"][0], "probability": direct["probability"][0]}})
    assert negative.status_code == other.status_code == dropped.status_code == 422
    assert "transaction_amount: Input should be greater than or equal to 0" in negative.json()["error"]["message"]
    assert "amount: Extra inputs are not permitted" in other.json()["error"]["message"]
    assert "'flatten' made 0 rows" in dropped.json()["error"]["message"]
    assert misaligned.status_code == 500
    assert "expected 1 values, one for each row; got 0" in misaligned.json()["error"]["message"]


@j2v.preprocess(columnar=True)
def doubled(batch: pa.RecordBatch, *, times: int) -> pa.RecordBatch:
    return pa.record_batch({"amount": pa.compute.multiply(batch["amount"], times)})  # type: ignore[attr-defined]


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


def test_an_answer_that_does_not_fit_its_model_is_our_fault(model: Any) -> None:
    answer = ask(deployment(model).forge(response=Answer), RECORDS[0])[0]
    assert answer.status_code == 500
    assert "do not fit Answer: label: Field required" in answer.json()["error"]["message"]


def test_reconstruct(model: Any) -> None:
    assert "record/amount" in ask(deployment(model, reconstruct=["amount"]), {})[0].json()["predictions"]
    with pytest.raises(j2v.SchemaError, match="'amuont', which is no active leaf"):
        deployment(model, reconstruct=["amuont"]).app()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_batchsize": 3}, r"no setting 'max_batchsize' \(did you mean 'max_batch_size'\?\)"),
        ({"max_batch_size": 0}, "max_batch_size=0: Input should be greater than or equal to 1"),
        ({"batch_timeout": -1}, "batch_timeout=-1"),
        ({"accelerator": "tpu"}, "accelerator='tpu'"),
        ({"port": 70000}, "port=70000"),
        ({"workers": 2}, "workers=2 needs a checkpoint"),
        ({"checkpoint": "x.ckpt"}, "a checkpoint or a model, not both"),
    ],
)
def test_settings_that_cannot_be_meant(model: Any, settings: dict, message: str) -> None:
    with pytest.raises(j2v.SchemaError, match=message):
        j2v.Deployment(model=model, **settings)


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PORT": "1", "HOST": "bad", "JSON2VEC_PORT": "8123", "JSON2VEC_BATCH_TIMEOUT": "0.5"}.items():
        monkeypatch.setenv(name, value)
    made = j2v.Deployment("m.ckpt", batch_timeout=0.25).settings
    assert (made.port, made.batch_timeout, made.host, made.checkpoint) == (8123, 0.25, "0.0.0.0", "m.ckpt")
    monkeypatch.setenv("JSON2VEC_PORT", "many")
    with pytest.raises(j2v.SchemaError, match="environment variable JSON2VEC_PORT='many'"):
        j2v.Deployment()
    monkeypatch.delenv("JSON2VEC_PORT")
    monkeypatch.setenv("JSON2VEC_MAX_BATCHSIZE", "3")
    with pytest.raises(j2v.SchemaError, match=r"JSON2VEC_MAX_BATCHSIZE is no setting.*JSON2VEC_MAX_BATCH_SIZE"):
        j2v.Deployment()


def test_another_preprocessor_than_in_training(model: Any, tmp_path: Path) -> None:
    trained = j2v.Model.load(model.save(tmp_path / "m.ckpt"))
    trained.preprocessor_fingerprint = j2v.Deployment(model=model).preprocess(flatten).preprocessor.fingerprint  # type: ignore[union-attr]
    path = trained.save(tmp_path / "m.ckpt")
    j2v.Deployment(path).preprocess(flatten).app()
    with pytest.warns(UserWarning, match="trained with a preprocessor of fingerprint .* and Deployment has none"):
        j2v.Deployment(path).app()
    with pytest.raises(j2v.ProcessorError, match="Remedy: pass the preprocessor of the training"):
        j2v.Deployment(path, strict_preprocessor=True).app()


def test_a_deployment_travels_to_another_process_or_says_why_not(tmp_path: Path) -> None:
    made = j2v.Deployment(tmp_path / "m.ckpt", workers=2).preprocess(doubled, times=2).postprocess(label_only)
    again = pickle.loads(pickle.dumps(made))
    assert again.settings == made.settings
    assert again.preprocessor == made.preprocessor
    with pytest.raises(j2v.SchemaError, match=r"workers=2: the postprocessor cannot be handed to another process"):
        made.postprocess(lambda context, predictions: None).serve()


def test_several_workers_of_a_missing_checkpoint_fail_once(tmp_path: Path) -> None:
    with pytest.raises(j2v.CheckpointError, match=r"absent\.ckpt does not exist"):
        j2v.Deployment(tmp_path / "absent.ckpt", workers=2).serve()


def test_a_missing_extra_names_the_remedy() -> None:
    code = "import sys; sys.modules['fastapi'] = None; import json2vec; json2vec.Deployment"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "ModuleNotFoundError: json2vec.Deployment needs fastapi, which is not installed. "
        "Remedy: pip install 'json2vec-dagster[serving]'"
    ) in result.stderr


SERVICE = """
import json2vec as j2v

def label_only(context, predictions):
    return {"label": predictions["record/label"]["content"]["value"]}

if __name__ == "__main__":
    j2v.Deployment("m.ckpt", host="127.0.0.1", log_level="warning").postprocess(label_only).serve()
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_serve_for_real(model: Any, tmp_path: Path, workers: int) -> None:
    model.save(tmp_path / "m.ckpt")
    (tmp_path / "service.py").write_text(SERVICE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = os.environ | {
        "JSON2VEC_PORT": str(port), "JSON2VEC_WORKERS": str(workers), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(j2v.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "service.py"], cwd=tmp_path, env=environ)
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while True:
            try:
                answer = httpx.post(f"{url}/predict", json=RECORDS, timeout=60)
                break
            except httpx.TransportError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert answer.status_code == 200
        assert [one["predictions"]["label"] for one in answer.json()] == (
            model.predict(RECORDS)["record/label"]["content"]["value"]
        )
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    finally:
        process.terminate()
        process.wait(30)
