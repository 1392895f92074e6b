"""Rows survive JSON."""

from __future__ import annotations

import datetime
import decimal
import json

import pyarrow as pa

from json2vec.reading.row_hash import row_hash
from json2vec.verify.row_json import row_from_json, row_to_json, type_from_json, type_to_json


def test_every_type_survives_json() -> None:
    kind = pa.struct(
        [("f", pa.list_(pa.float32())), ("m", pa.map_(pa.string(), pa.float64())), ("t", pa.timestamp("us", "UTC")),
         ("d", pa.date32()), ("n", pa.decimal128(20, 3)), ("b", pa.binary()), ("i", pa.int64()), ("x", pa.bool_()),
         ("c", pa.time64("us")), ("o", pa.struct([("s", pa.string())]))]
    )  # fmt: skip
    value = {
        "f": [0.1, None, float("nan"), float("-inf")], "m": [("k", 0.1)], "d": datetime.date(2024, 2, 29),
        "t": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), "n": decimal.Decimal("12.340"), "b": b"\x00\xff",
        "i": 2**62 + 1, "x": False, "c": datetime.time(1, 2, 3), "o": {"s": None},
    }  # fmt: skip
    array = pa.array([value, None], kind)
    text = json.dumps([row_to_json(one) for one in array])
    again = pa.array([row_from_json(one, kind) for one in json.loads(text)], type_from_json(type_to_json(kind)))
    columns = [pa.RecordBatch.from_arrays([one], ["value"]) for one in (array, again)]
    assert row_hash(columns[0]).tolist() == row_hash(columns[1]).tolist()
