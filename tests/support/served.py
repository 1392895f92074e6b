"""A small model behind a service, and requests to it."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import httpx
import pyarrow as pa
import pytest
import torch

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


def flatten(record: dict) -> dict | None:
    return None if record["amount"] == 0 else {"amount": record["amount"], "merchant": record["seller"]["name"]}


def label_only(context: dict, predictions: dict) -> dict:
    assert len(context["metadata"]) == 1
    label = predictions["record/label"]["content"]
    if context["request"]["amount"] == 99:
        return {"label": [], "probability": label["probability"]}
    return {"label": label["value"], "probability": label["probability"]}


@j2v.preprocess(columnar=True)
def doubled(batch: pa.RecordBatch, *, times: int) -> pa.RecordBatch:
    return pa.record_batch({"amount": pa.compute.multiply(batch["amount"], times)})  # type: ignore[attr-defined]
