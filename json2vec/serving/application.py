"""The HTTP side of a deployment: bytes to records, results to bytes, faults to status codes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.requests import ClientDisconnect

from json2vec.serving.batcher import Batcher, Overloaded, TooMany
from json2vec.serving.predictor import BadRecord
from json2vec.serving.settings import BODY_TIMEOUT_S, MAX_BODY_BYTES

_log = logging.getLogger("json2vec.serving")
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class Refused(Exception):
    """A request that gets an error instead of an answer.

    Args:
        status: the HTTP status of the answer.
        message: what was wrong, and with what.
        items: the records at fault, each as {"item": its position in the request, "message": what was wrong with it}.
    """

    def __init__(self, status: int, message: str, items: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status, self.items = status, list(items)


def application(
    batcher: Batcher[dict[str, Any], dict[str, Any]],
    request: type[BaseModel] | None = None,
    response: type[BaseModel] | None = None,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    body_timeout: float = BODY_TIMEOUT_S,
) -> FastAPI:
    """The application over a batcher of records.

    Args:
        batcher: predicts records together; it is closed with the application.
        request: the pydantic model that validates each record; None takes any object.
        response: the pydantic model that validates and shapes each result; None answers results as they are.
        max_body_bytes: bytes that a request may have.
        body_timeout: seconds in which a request has to arrive.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close)

    app = FastAPI(title="json2vec", lifespan=lifespan)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    async def predict(http: Request) -> Response:
        try:
            body = await _body(http, max_body_bytes, body_timeout)
            status, content = 200, await _answer(body, batcher, request, response)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Refused as exc:
            status = exc.status
            error = {"status_code": status, "message": str(exc), "items": exc.items}
            content = orjson.dumps({"predictions": {}, "error": error})
        return Response(content, status, media_type="application/json")

    app.openapi = _documented(app.openapi, request, response)
    return app


async def _body(http: Request, most: int, seconds: float) -> bytes:
    """The bytes of a request, of which no more than ``most`` are ever held."""
    too_large = Refused(
        413, f"the body has more than {most} bytes. Remedy: send fewer records at a time, or set a larger "
        "max_body_bytes",
    )  # fmt: skip
    said = http.headers.get("content-length", "")
    if said.isdecimal() and int(said[:20]) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in http.stream():
                body += part
                if len(body) > most:
                    raise too_large
    except TimeoutError:
        raise Refused(
            408, f"the body did not arrive within {seconds:g} s; {len(body)} bytes came. Remedy: send it again, or set "
            "a larger body_timeout",
        ) from None  # fmt: skip
    return bytes(body)


async def _answer(
    body: bytes, batcher: Batcher[Any, Any], request: type[BaseModel] | None, response: type[BaseModel] | None
) -> bytes:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Refused(400, f"the body is not JSON: {exc}") from exc
    several = isinstance(asked, list)
    records = _validated(asked if several else [asked], several, request)
    try:
        futures = batcher.submit(records)
    except TooMany as exc:
        raise Refused(413, str(exc)) from exc
    except Overloaded as exc:
        raise Refused(503, str(exc)) from exc
    results = await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
    answers = [{"predictions": result} for result in _checked(results, response)]
    try:
        return orjson.dumps(answers if several else answers[0], option=_OPTIONS)
    except TypeError as exc:
        _log.exception("predictions that are no JSON")
        raise Refused(500, f"the predictions cannot be written as JSON: {exc}") from exc


def _validated(records: list[Any], several: bool, request: type[BaseModel] | None) -> list[dict[str, Any]]:
    """The records as the model shall see them."""
    wrong: list[dict[str, Any]] = []
    for item, record in enumerate(records):
        if not isinstance(record, dict):
            wrong.append({"item": item, "message": f"expected an object, found {_json_type(record)}"})
        elif request is not None:
            try:
                # As JSON, where texts may spell dates and the like even in a strict model.
                records[item] = request.model_validate_json(orjson.dumps(record)).model_dump()
            except ValidationError as exc:
                wrong.append({"item": item, "message": _reasons(exc)})
            except (TypeError, RecursionError) as exc:  # JSON that was read and cannot be written: it nests too deep
                wrong.append({"item": item, "message": f"the record cannot be checked: {exc}"})
    if wrong and not several:
        message = wrong[0]["message"]
        raise Refused(422, message + ("" if request else " (or an array of objects)"), wrong)
    if wrong:
        raise Refused(422, _summary(wrong, len(records)), wrong)
    return records


def _checked(results: Sequence[Any], response: type[BaseModel] | None) -> list[Any]:
    """The results as they are answered; raises `Refused` if any of them is an exception."""
    bad: list[dict[str, Any]] = [
        {"item": item, "message": str(result)} for item, result in enumerate(results) if isinstance(result, BadRecord)
    ]
    if bad:
        raise Refused(422, bad[0]["message"] if len(results) == 1 else _summary(bad, len(results)), bad)
    for result in results:
        if isinstance(result, BaseException):
            _log.error("prediction failed", exc_info=result)
            raise Refused(500, f"prediction failed: {type(result).__name__}: {result}") from result
    if response is None:
        return list(results)
    try:
        return [response.model_validate(result).model_dump(mode="json", by_alias=True) for result in results]
    except ValidationError as exc:
        _log.exception("predictions that are not what the response model says")
        raise Refused(500, f"the predictions do not fit {response.__name__}: {_reasons(exc)}") from exc


def _summary(wrong: list[dict[str, Any]], total: int) -> str:
    first = wrong[0]
    return f"{len(wrong)} of {total} records cannot be predicted; the first is item {first['item']}: {first['message']}"


def _reasons(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'record'}: {problem['msg']}" for problem in problems)


def _json_type(value: object) -> str:
    names: dict[type, str] = {list: "an array", str: "a text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _documented(
    generate: Callable[[], dict[str, Any]], request: type[BaseModel] | None, response: type[BaseModel] | None
) -> Callable[[], dict[str, Any]]:
    """FastAPI's OpenAPI document with what goes in and out of ``/predict``, which it cannot see for itself."""

    def document() -> dict[str, Any]:
        openapi = generate()
        pairs: list[Any] = []
        if request is not None:
            pairs.append((request, "validation"))
        if response is not None:
            pairs.append((response, "serialization"))
        schemas, definitions = models_json_schema(pairs, ref_template="#/components/schemas/{model}")
        openapi.setdefault("components", {}).setdefault("schemas", {}).update(definitions.get("$defs", {}))
        record = {"type": "object"} if request is None else schemas[request, "validation"]
        predictions = {"type": "object"} if response is None else schemas[response, "serialization"]
        answer = {"type": "object", "properties": {"predictions": predictions}, "required": ["predictions"]}
        operation = openapi["paths"]["/predict"]["post"]
        operation["requestBody"] = {"required": True, "content": _one_or_many(record)}
        operation["responses"] = {
            "200": {"description": "Predictions, in the order of the records", "content": _one_or_many(answer)},
            "400": {"description": "The body is not JSON"},
            "408": {"description": "The body took too long to arrive"},
            "413": {"description": "More bytes or records than the service takes at once"},
            "422": {"description": "A record that cannot be predicted; nothing was"},
            "500": {"description": "The service failed"},
            "503": {"description": "Too many records are waiting"},
        }
        return openapi

    return document


def _one_or_many(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {"oneOf": [schema, {"type": "array", "items": schema}]}}}
