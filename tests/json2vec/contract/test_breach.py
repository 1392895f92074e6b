"""Breaches are listed all at once, up to limits that can be meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest
from flight_shards import Trained, good_table

from json2vec.contract import Limits
from json2vec.errors import ContractBroken, SchemaError


def test_limits(trained: Trained, shards: Callable[[pa.Table], Path]) -> None:
    table = good_table(8, 600)
    table = table.set_column(table.schema.get_field_index("temp"), "temp", pa.nulls(600, pa.float64()))
    folder = shards(table)
    assert trained.check(folder).broken
    # 100% less 10% leaves 90 points, and a sample of 600 allows two fewer.
    assert not trained.check(folder, limits=Limits.of({"null_rate": [0.5, 0.95]})).broken
    ignored = trained.check(folder, limits=Limits.of({"ignore": ["temp"]}))
    assert ignored.of("error", "warning") == []
    assert [one.where for one in ignored.of("info")] == ["temp"]
    assert not trained.check(folder, limits=Limits.of({"ignore": ["record/temp"]})).broken
    # Schemas alone: the type is still double.
    assert trained.check(folder, sample_rows=0).breaches == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"null_rates": 0.1}, "did you mean 'null_rate'"),
        ({"null_rate": [0.5, 0.1]}, "0 <= warning <= error <= 1"),
        ({"null_rate": 2}, "0 <= warning <= error <= 1"),
        ({"null_rate": "high"}, "must be a pair"),
        ({"ignore": "temp"}, "list of columns"),
    ],
)
def test_limits_that_cannot_be_meant(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Limits.of(values)


def test_the_error_lists_every_breach(trained: Trained, shards: Callable[[pa.Table], Path]) -> None:
    table = good_table(9, 300).drop_columns(["temp"]).rename_columns({"gate": "Gate"})
    with pytest.raises(ContractBroken) as caught:
        trained.check(shards(table)).raise_if_broken("the shards in s3://bucket/day")
    text = str(caught.value)
    assert text.startswith("the shards in s3://bucket/day break the contract of the checkpoint: 2 errors, 0 warnings")
    assert {breach.where for breach in caught.value.breaches if breach.severity == "error"} == {"temp", "gate"}
    for part in ("ERROR  column temp: missing (record/temp)", "expected  double", "found     no such column", "remedy"):
        assert part in text
