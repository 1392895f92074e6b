"""The schemas and records of parity.py: what each covers, and how its records are made up. Runs where the peer is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import torch

import json2vec as j2v

MASK = "<MASK>"
Record = dict[str, Any]

# 0.4.10 renamed what 0.4.9 calls Array, from_schema, max_length and max_vocab_size.
RENAMED = hasattr(j2v, "Branch")
LENGTH, SIZE = ("length", "size") if RENAMED else ("max_length", "max_vocab_size")


@dataclass(frozen=True)
class Case:
    """A schema, how its records are made up, and what makes those of the prediction hard."""

    build: Callable[..., Any]
    record: Callable[[random.Random], Record]
    disturb: Callable[[list[Record]], None]
    rows: int


def array(*children: Any, name: str, length: int, **options: Any) -> Any:
    return (j2v.Branch if RENAMED else j2v.Array)(*children, name=name, **{LENGTH: length}, **options)


def labels(kind: Any, name: str, size: int, **options: Any) -> Any:
    """A Category or Set."""
    return kind(name, **{SIZE: size}, **options)


def tree(*fields: Any, **options: Any) -> Any:
    make = j2v.Model.from_tree if RENAMED else j2v.Model.from_schema
    return make(*fields, batch_size=64, optimizer=lambda one: torch.optim.AdamW(one.parameters(), lr=2e-2), **options)


def moment(rng: random.Random, form: str = "{:%Y-%m-%dT%H:%M}") -> str:
    """A text from 1955 to 2035, but on no 31 December: in leap years from a Wednesday on, the peer stops there."""
    while True:
        day = datetime(1955, 3, 1) + timedelta(minutes=rng.randrange(60 * 24 * 365 * 80))
        if (day.month, day.day) != (12, 31):
            return form.format(day)


# One: arrays two deep, gqa and mqa, tail overflow, n_linear 2, embeddings of arrays and leaves.


def build_one() -> Any:
    parts = ["week_of_year", "month_of_year", "day_of_month", "week_of_month", "day_of_week"]
    return tree(
        j2v.Number("amount", n_bands=4, offset=2, embed=True, p_mask=0.2, n_heads=2),
        labels(j2v.Category, "city", 6, pooling="mean"),
        j2v.DateParts("seen", dateparts=parts, pooling="mean"),
        array(
            j2v.Number("cost", n_bands=3, offset=1, pooling="mean", p_mask=0.2, alpha=0.1, jitter=0.05),
            labels(j2v.Category, "grade", 6, target=True, topk=[2], pooling="mean"),
            array(
                labels(j2v.Category, "kind", 8, embed=True, p_mask=0.2, pooling="mean"),
                j2v.Number("value", n_bands=3, offset=1, target=True, objective="huber"),
                name="tests", length=2, attention="gqa", overflow="tail", dropout=0.1, embed=True,
            ),
            name="visits", length=3, attention="mqa", overflow="tail", n_heads=2, embed=True,
        ),
        array(
            j2v.DateParts("at", dateparts=["month_of_year", "week_of_month"], pooling="mean"),
            j2v.Number("gap", n_bands=3, offset=1, pooling="mean"),
            name="stamps", length=5, attention="gqa",
        ),
        j2v.Number("unused", n_bands=1, offset=1, active=False, pooling="mean"),
        j2v.Number("score", n_bands=3, offset=1, target=True, objective="mse", pooling="mean"),
        labels(j2v.Category, "label", 8, target=True, topk=[2, 4], n_heads=2),
        d_model=8, n_layers=1, n_heads=4, attention="gqa", n_linear=2, embed=True,
    )  # fmt: skip


def record_one(rng: random.Random) -> Record:
    def visit() -> Record:
        kinds = [rng.choice("abcdef") for _ in range(rng.randrange(4))]
        tests = [{"kind": kind, "value": ord(kind) - 98 + rng.gauss(0, 1)} for kind in kinds]
        return {"cost": rng.lognormvariate(2, 1), "grade": len(kinds), "tests": tests}

    city = rng.choice(["Rome", "Oslo", "Köln", "Łódź", "Nice"])
    return {
        "amount": rng.gauss(40, 12),
        "city": city,
        "seen": moment(rng),
        "visits": [visit() for _ in range(rng.randrange(6))],
        "stamps": [{"at": moment(rng), "gap": rng.gauss(0, 2)} for _ in range(5 + rng.randrange(2))],
        "unused": 1.0,
        "score": rng.gauss(0, 1),
        "label": city[0] if rng.random() < 0.7 else "other",
    }


def disturb_one(records: list[Record]) -> None:
    # The peer's error in DateParts slots that hold no value shows unless they come first in the batch; see the README.
    records[0]["seen"] = records[1]["seen"] = None
    records[0]["stamps"], records[1]["stamps"] = [], [{"at": None, "gap": 1.0}] * 5
    records[4]["seen"], records[5]["seen"], records[6]["seen"] = "1969-12-31", "2024-02-29T23:59:59", "2012-07-01 08:30"
    records[2]["amount"] = records[3]["city"] = None
    records[4]["amount"], records[5]["amount"], records[6]["amount"] = 1e12, -math.inf, 7
    records[7]["city"] = "never seen"
    visit = {"cost": 3.0, "grade": 1, "tests": [{"kind": "a", "value": 0.5}]}
    records[8]["visits"] = [visit | {"cost": None}, visit, visit | {"cost": None}]
    records[9]["visits"] = [visit | {"tests": [{"kind": None, "value": None}, {"kind": "b", "value": 1.0}]}, visit]
    records[10]["visits"] = None
    records[11]["visits"] = [visit | {"tests": []}, visit | {"tests": [{"kind": "unknown", "value": 1.0}] * 3}]
    records[12]["visits"] = [visit | {"cost": float(index)} for index in range(7)]


# Two: Set, Vector and Entity as inputs and targets, attention none, arrays of length 1 and of targets only.


def build_two() -> Any:
    return tree(
        labels(j2v.Set, "tags", 6, pooling="mean"),
        j2v.Vector("place", n_dim=3, pooling="mean"),
        j2v.DateParts("day", dateparts=["day_of_year", "hour_of_day"], pattern="%d/%m/%Y %H:%M", pooling="mean"),
        array(
            j2v.Entity("who", pooling="mean"),
            labels(j2v.Set, "what", 5, threshold=0.4, target=True, n_heads=2),
            j2v.Vector("way", n_dim=2, embed=True, p_mask=0.2, n_heads=2),
            j2v.Vector("goal", n_dim=2, target=True, objective="l1", pooling="mean"),
            j2v.Number("price", n_bands=3, offset=1, pooling="mean"),
            labels(j2v.Set, "marks", 5, embed=True, p_mask=0.2, pooling="mean"),
            name="items", length=3, attention="none", overflow="head", n_heads=2, embed=True, mask=j2v.Mask(count=1),
        ),
        array(
            j2v.Number("x", pooling="mean"), j2v.Number("y", target=True, n_heads=2),
            name="single", length=1, n_heads=2, attention="none", embed=True,
        ),
        array(
            j2v.Number("z", target=True, pooling="mean"),
            name="results", length=3, n_heads=2, attention="none", embed=True,
        ),
        labels(j2v.Set, "wanted", 5, target=True, threshold=0.4, pooling="mean"),
        labels(j2v.Set, "liked", 5, target=True, n_heads=2),
        j2v.Vector("aim", n_dim=3, target=True, n_heads=2),
        j2v.Vector("flat", n_dim=1, target=True, n_linear=2, n_heads=2),
        labels(j2v.Category, "flag", 4, target=True, pooling="mean"),
        d_model=6, n_layers=1, n_heads=2, attention="none", embed=True,
    )  # fmt: skip


def record_two(rng: random.Random) -> Record:
    def some(letters: str) -> list[str]:
        return [letter for letter in letters if rng.random() < 0.4]

    def vector(size: int) -> list[float]:
        return [rng.gauss(1, 1) for _ in range(size)]

    def item() -> Record:
        return {"who": rng.choice(["ann", "bob", "cy"]), "what": some("uvw"), "way": vector(2), "goal": vector(2),
                "price": rng.expovariate(0.1), "marks": some("klm")}  # fmt: skip

    tags = some("abcd")
    return {
        "tags": tags,
        "place": vector(3),
        "day": moment(rng, "{:%d/%m/%Y %H:%M}"),
        "items": [item() for _ in range(rng.randrange(7))],
        "single": [{"x": rng.gauss(0, 1), "y": rng.gauss(0, 1)}],
        "results": [{"z": rng.gauss(0, 1)}],
        "wanted": some("pqr"),
        "liked": [chr(ord(tag) + 15) for tag in tags],
        "aim": vector(3),
        "flat": vector(1),
        "flag": "a" in tags,
    }


def disturb_two(records: list[Record]) -> None:
    records[0]["day"] = records[1]["day"] = None
    for index, tags in enumerate((None, [], "a", ["a", None, "a", "?"])):
        records[2 + index]["tags"] = tags
    records[6]["place"] = None
    records[7]["items"], records[8]["items"], records[9]["single"] = [], None, []
    item = record_two(random.Random(5))["items"][0]
    records[10]["items"] = [item | {"who": None}, item, item | {"who": "dee"}, item]
    records[11]["items"] = [item | {"way": None}, item | {"price": None}, item | {"marks": None}]
    records[12]["items"] = [item | {"way": [0, 1], "price": "12", "marks": "k"}, item | {"price": True}]
    records[13]["items"] = [item | {"who": name} for name in ("x", "y", "x", "z", "y")]


# Three: three arrays deep, d_model 6 with head dimension 3, own queries, texts "<MASK>" in slots of every input type.


def build_three() -> Any:
    return tree(
        j2v.Number("a", pooling="mean"),
        labels(j2v.Category, "b", 6, pooling="mean", topk=[2, 3]),
        labels(j2v.Set, "c", 5, n_heads=2, threshold=0.4, p_mask=0.2),
        j2v.Vector("v", n_dim=2, n_heads=2, p_mask=0.2),
        j2v.DateParts("t", dateparts=["month_of_year", "hour_of_day"], pooling="mean"),
        j2v.Number("unit-price", pooling="mean"),
        j2v.Number("inner", query="[*].about.inner", pooling="mean"),
        array(
            array(
                j2v.Entity("who", pooling="mean"),
                array(
                    j2v.Number("p", n_heads=2),
                    labels(j2v.Category, "k", 6, pooling="mean"),
                    labels(j2v.Set, "s", 4, n_heads=2),
                    name="low", length=2, n_heads=2, overflow="tail", embed=True,
                ),
                j2v.Number("q", target=True, n_heads=2),
                name="mid", length=2, n_heads=2, attention="mqa", embed=True,
            ),
            j2v.Vector("w", n_dim=2, pooling="mean", p_mask=0.2),
            name="top", length=2, n_heads=2, attention="none", n_linear=2, embed=True,
        ),
        labels(j2v.Category, "label", 5, target=True, n_heads=2),
        d_model=6, n_layers=1, n_heads=2, attention="mha", embed=False,
    )  # fmt: skip


def record_three(rng: random.Random) -> Record:
    def low() -> Record:
        return {"p": rng.gauss(0, 3), "k": rng.choice("xyz"), "s": [one for one in "mno" if rng.random() < 0.5]}

    def mid() -> Record:
        return {"who": rng.choice("ijk"), "low": [low() for _ in range(rng.randrange(4))], "q": rng.gauss(0, 1)}

    def top() -> Record:
        return {"mid": [mid() for _ in range(rng.randrange(4))], "w": [rng.gauss(0, 1), rng.gauss(0, 1)]}

    b = rng.choice(["one", "two", "three", "four"])
    return {
        "a": rng.gauss(0, 5),
        "b": b,
        "c": [one for one in "efg" if rng.random() < 0.5],
        "v": [rng.gauss(0, 1), rng.gauss(0, 1)],
        "t": moment(rng),
        "unit-price": rng.expovariate(0.2),
        "about": {"inner": rng.gauss(0, 1)},
        "top": [top() for _ in range(rng.randrange(4))],
        "label": b[0] if rng.random() < 0.8 else "x",
    }


def disturb_three(records: list[Record]) -> None:
    records[0]["t"], records[1]["t"] = None, MASK
    for index, name in enumerate(("a", "b", "c", "v")):
        records[2 + index][name] = MASK
    records[6]["about"], records[7]["about"] = {"inner": MASK}, {"inner": None}
    records[8] |= {"a": MASK, "b": MASK, "c": None, "v": MASK}
    low = {"p": 1.0, "k": "x", "s": ["m"]}
    mid = {"who": "i", "low": [low, low], "q": 0.5}
    top = {"mid": [mid, mid], "w": [0.0, 1.0]}
    records[9]["top"] = [top, top | {"w": MASK}]
    records[10]["top"] = [top | {"mid": [mid | {"who": MASK}, mid]}, top]
    records[11]["top"] = [top | {"mid": [mid, mid | {"low": [low | {"p": MASK}, low | {"k": MASK}]}]}, top]
    records[12]["top"] = [top | {"mid": [mid | {"low": [low, low | {"s": MASK}]}]}]
    records[13]["top"] = [top | {"mid": [mid | {"low": [low | {"p": None}, low | {"k": None, "s": None}]}]}]
    records[14]["top"] = [top | {"w": None, "mid": []}, top]
    records[15]["unit-price"] = MASK


# Older: for 0.4.9, which pads nulls and moves later items up, so without any; its names differ, too.


def build_older() -> Any:
    return tree(
        j2v.Number("amount", pooling="mean"),
        labels(j2v.Category, "city", 6, p_mask=0.2, embed=True, n_heads=2),
        labels(j2v.Set, "tags", 5, pooling="mean"),
        j2v.DateParts("seen", dateparts=["month_of_year", "hour_of_day"], pooling="mean"),
        array(
            labels(j2v.Category, "kind", 8, pooling="mean"),
            j2v.Number("value", target=True, n_heads=2),
            name="items", length=4, attention="gqa", overflow="tail", embed=True, mask=j2v.Mask(rate=0.1),
        ),
        labels(j2v.Category, "label", 8, target=True, topk=[3], n_linear=2),
        labels(j2v.Set, "wanted", 5, target=True, threshold=0.4, pooling="mean"),
        j2v.Vector("aim", n_dim=2, target=True, pooling="mean"),
        d_model=8, n_layers=2, n_heads=4, attention="mqa", n_linear=2, embed=True,
    )  # fmt: skip


def record_older(rng: random.Random) -> Record:
    def some(letters: str) -> list[str]:
        return [letter for letter in letters if rng.random() < 0.4]

    items = [{"kind": rng.choice("abcdef"), "value": rng.gauss(0, 1)} for _ in range(rng.randrange(7))]
    return {
        "amount": rng.gauss(40, 12),
        "city": rng.choice(["Rome", "Oslo", "Köln", "Łódź", "Nice"]),
        "tags": some("abcd"),
        "seen": moment(rng),
        "items": items,
        "label": str(len(items)),
        "wanted": some("pqr"),
        "aim": [rng.gauss(1, 1), rng.gauss(-1, 1)],
    }


def disturb_older(records: list[Record]) -> None:
    records[2]["city"], records[3]["tags"], records[4]["tags"] = "never seen", ["a", "?", "a"], "b"
    records[5]["amount"], records[6]["city"], records[7]["amount"] = -1e9, MASK, "12"


CASES = {
    "one": Case(build_one, record_one, disturb_one, rows=13),
    "two": Case(build_two, record_two, disturb_two, rows=16),
    "three": Case(build_three, record_three, disturb_three, rows=16),
    "older": Case(build_older, record_older, disturb_older, rows=16),
}
