"""More processors that hurt; ranks import this module as a user's own, by trusted_modules."""

from __future__ import annotations

import os
import resource
from typing import Any

import pyarrow as pa

import json2vec as j2v

FILE_LIMIT = 12_000
"""Bytes: less than a rank file of these tests, more than an error report."""


@j2v.preprocess(columnar=True)
def fill_the_disk(rows: pa.RecordBatch) -> pa.RecordBatch:
    """On rank 1, while armed: from now on the kernel refuses writes past FILE_LIMIT bytes, to root as well."""
    if os.environ.get("RANK") == "1" and os.path.exists(os.environ["J2V_FAULT"]):
        # Python ignores SIGXFSZ, so that the write itself fails, with EFBIG.
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return rows


@j2v.postprocess
def null_at_first(context: dict[Any, Any], predictions: dict[Any, Any]) -> dict[Any, Any]:
    """A column that is null in the plan's first rows, and text later on."""
    ids = [item["request_id"] for item in context[j2v.TensorKey.metadata]]
    return {j2v.Address("record", "row"): {"id": ids, "note": [None if "00-" in one else f"note {one}" for one in ids]}}


@j2v.preprocess(yields=True)
def late_key(row: dict[str, Any], strata: str) -> list[dict[str, Any]]:
    """A key that appears at row 1200 for the first time, long after the schema was taken from the first rows."""
    number = int(row["request_id"].rpartition("-")[2])
    return [row if number < 1200 else {**row, "surprise": number}]
