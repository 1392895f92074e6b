"""The frozen folder of format version 1 still reads, verifies and has its certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import json2vec as j2v
from json2vec.verify.certificate import Certificate, Proof, RowName, check_certificate, check_proof
from json2vec.verify.explain import explain

FROZEN = Path(__file__).parents[1] / "data" / "format-1"
SCHEMA = pa.schema([("id", pa.string()), ("amount", pa.float64()), ("merchant", pa.string()),
                    ("items", pa.list_(pa.struct([("price", pa.float64())])))])  # fmt: skip


@j2v.preprocess(yields=True, schema=SCHEMA)
def frozen_twice(row: dict[str, Any], strata: str) -> list[dict[str, Any]]:
    """What made the frozen folder."""
    return [] if row["id"] == "5" else [row] * (2 if row["id"] == "9" else 1)


def test_it_reads() -> None:
    table = j2v.read_predictions(FROZEN / "predictions").collect()
    rows = (0, 1, 2, 3, 4, 6, 7, 8, 9, 9, 10, 11, 12, 13)
    assert table["inputs"].struct.field("id").to_list() == [str(row) for row in rows]
    assert table["source"].struct.field("file").to_list() == ["a.parquet"] * 7 + ["b ü.parquet"] * 7
    assert table["predictions"].struct.field("record/label").struct.field("content").null_count() == 0


def test_it_verifies() -> None:
    report = j2v.verify_predictions(
        FROZEN / "predictions", inputs=FROZEN / "inputs", model=FROZEN / "model.ckpt", sample=None,
        preprocessor=frozen_twice,
    )  # fmt: skip
    assert report.passed, report.summary()
    assert report.finding("coverage").counts["rejected"] == 1


def test_its_certificate_holds() -> None:
    certificate, proof = Certificate.read(FROZEN / "certificate.json"), Proof.read(FROZEN / "proof.json")
    assert check_certificate(certificate, FROZEN / "predictions", row=RowName("b ü.parquet", 1, 1)) == []
    assert check_proof(certificate, proof) == []


@pytest.mark.parametrize(
    ("row", "said"), [(RowName("a.parquet", 5), "dropped"), (RowName("b ü.parquet", 1, 1), "agrees")]
)
def test_it_is_explained(row: RowName, said: str) -> None:
    story = explain(
        FROZEN / "predictions", row, inputs=FROZEN / "inputs", model=FROZEN / "model.ckpt", preprocessor=frozen_twice
    )
    assert story.ok, story.text()
    assert said in story.text()
