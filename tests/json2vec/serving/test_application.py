"""The HTTP side: every fault with the status it deserves, and a document of it all."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from datetime import datetime
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, Field
from served import BAD, RECORDS, ask, close, deployment, flatten, label_only

from json2vec.serving.application import application
from json2vec.serving.batcher import Batcher, Overloaded


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


def test_more_than_may_ever_wait_is_413(model: Any) -> None:
    answer = ask(deployment(model, max_waiting=2), RECORDS)[0]
    assert answer.status_code == 413
    assert "6 records came at once; at most 2 may wait" in answer.json()["error"]["message"]
    # The remedy: fewer at a time.
    assert ask(deployment(model, max_waiting=2), RECORDS[:2])[0].status_code == 200


class Full(Batcher[Any, Any]):
    def submit(self, items: Any) -> Any:
        self._items.put(({}, Future()))  # somebody else's, while the thread is busy
        return super().submit(items)


def test_more_than_may_wait_beside_others_is_503() -> None:
    app = application(Full(list, max_batch_size=2, max_waiting=2))
    with pytest.raises(Overloaded, match=r"1 records are waiting and 2 more came; at most 2 may wait"):
        Full(list, max_batch_size=2, max_waiting=2).submit([1, 2])
    assert send(app, [b"[{}, {}]"])[0] == 503


def send(app: Any, parts: list[Any], headers: list[tuple[bytes, bytes]] | None = None) -> tuple[int, str, int]:
    """Post a body in parts; a number waits so many seconds, None hangs up. Status, answer, and how many were read."""
    answer: dict[str, Any] = {"status": 0, "body": b""}
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        part = parts[read] if read < len(parts) else b""
        read += 1
        if part is None:
            return {"type": "http.disconnect"}
        if isinstance(part, int):
            await asyncio.sleep(part)
            part = b""
        return {"type": "http.request", "body": part, "more_body": read < len(parts)}

    async def respond(message: dict[str, Any]) -> None:
        answer["status"] = message.get("status", answer["status"])
        answer["body"] += message.get("body", b"")

    scope = {"type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b"",
             "headers": headers or [], "http_version": "1.1", "scheme": "http", "client": None, "server": None,
             "asgi": {"version": "3.0"}}  # fmt: skip
    asyncio.run(app(scope, receive, respond))
    return answer["status"], answer["body"].decode(), read


def test_a_body_that_is_too_large_is_413_and_is_not_read_to_its_end() -> None:
    app = application(Batcher(list, max_batch_size=2), max_body_bytes=10)
    status, body, read = send(app, [b"[{},", b" " * 100] + [b" " * 100] * 50)
    assert (status, read) == (413, 2)
    assert "more than 10 bytes. Remedy: send fewer records at a time, or set a larger max_body_bytes" in body
    assert send(app, [b"[]"] * 9, [(b"content-length", b"99")])[::2] == (413, 0)
    assert send(app, [b"[{}, {}]"], [(b"content-length", b"8")])[0] == 200


def test_a_deployment_takes_the_bounds_of_bodies(model: Any) -> None:
    made = deployment(model, max_body_bytes=20, body_timeout=5.0)
    assert (made.settings.max_body_bytes, made.settings.body_timeout) == (20, 5.0)
    assert [answer.status_code for answer in ask(made, [{}], [{"merchant": "books"}] * 3)] == [200, 413]


def test_a_body_that_does_not_arrive_is_408(caplog: pytest.LogCaptureFixture) -> None:
    status, body, _ = send(application(Batcher(list, max_batch_size=2), body_timeout=0.05), [b"[", 30, b"]"])
    assert status == 408
    assert "did not arrive within 0.05 s; 1 bytes came" in body


def test_a_client_that_hangs_up_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    send(application(Batcher(list, max_batch_size=2)), [b"[", None])
    assert caplog.text == ""


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
    merchant: str | None = None
    when: datetime | None = None
    items: list[dict] | None = None
    seller: Seller = Seller()


class Answer(BaseModel):
    label: str
    probability: float


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


def test_an_answer_that_does_not_fit_its_model_is_our_fault(model: Any) -> None:
    answer = ask(deployment(model).forge(response=Answer), RECORDS[0])[0]
    assert answer.status_code == 500
    assert "do not fit Answer: label: Field required" in answer.json()["error"]["message"]
