"""infer_schema."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import json2vec as j2v
from json2vec.helpers import InferenceConfig, infer_schema

START = datetime.datetime(2024, 1, 1)


def rows(n: int = 40) -> list[dict[str, Any]]:
    return [
        {
            "amount": k * 1.5 if k else None,
            "count": k,
            "store_id": 1000 + k,
            "grade": k % 3,
            "paid": k % 2 == 0,
            "when": (START + datetime.timedelta(hours=k)).isoformat(),
            "day": datetime.date(2024, 1, 1 + k % 28),
            "city": f"city {k % 5}",
            "tags": ["a", "b"][: k % 3],
            "vec": [float(k), 1.0, 2.0],
            "buyer": {"age": 20 + k, "home": {"zip": k}},
            "odd key": "x",
            "items": [{"price": 2.5, "sku": "s", "parts": [{"w": 1.5}]}] * (k % 4),
        }
        for k in range(n)
    ]


EXPECTED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "amount": ("number", "[*].amount", {}),
    "count": ("number", "[*].count", {}),
    "store_id": ("category", "[*].store_id", {"max_vocab_size": 128}),
    "grade": ("category", "[*].grade", {"max_vocab_size": 32}),
    "paid": ("category", "[*].paid", {"max_vocab_size": 2}),
    "when": ("dateparts", "[*].when", {"dateparts": ("month_of_year", "day_of_month", "day_of_week", "hour_of_day")}),
    "day": ("dateparts", "[*].day", {"dateparts": ("month_of_year", "day_of_month", "day_of_week")}),
    "city": ("category", "[*].city", {"max_vocab_size": 32}),
    "tags": ("set", "[*].tags", {"max_vocab_size": 32}),
    "vec": ("vector", "[*].vec", {"n_dim": 3}),
    "buyer_age": ("number", "[*].buyer.age", {}),
    "buyer_home_zip": ("category", "[*].buyer.home.zip", {}),
    "odd_key": ("category", '[*]."odd key"', {}),
}


def check(fields: list[Any]) -> None:
    found = {field.name: field for field in fields}
    assert list(found) == [*EXPECTED, "items"]
    for name, (kind, query, options) in EXPECTED.items():
        assert (found[name].type, found[name].query) == (kind, query), name
        assert {key: getattr(found[name], key) for key in options} == options, name
    items = found["items"]
    assert (items.max_length, items.overflow) == (3, "head")
    assert [(child.name, child.type) for child in items.fields] == [
        ("price", "number"), ("sku", "category"), ("parts", "array"),
    ]  # fmt: skip
    assert items.fields[0].query == "[*].items[*].price"
    assert items.fields[2].fields[0].query == "[*].items[*].parts[*].w"


def test_from_records_frames_tables_and_folders(tmp_path: Path) -> None:
    records = rows()
    frame = pl.DataFrame(records)
    check(infer_schema(records))
    check(infer_schema(iter(records)))
    check(infer_schema(frame))
    check(infer_schema(frame.lazy()))
    check(infer_schema(frame.to_arrow()))
    check(infer_schema(pa.Table.from_pylist(records)))
    for part in range(2):
        frame[part * 20 : part * 20 + 20].write_parquet(tmp_path / f"part-{part}.parquet")
    check(infer_schema(tmp_path))
    check(infer_schema(str(tmp_path), suffix="parquet"))


def test_what_is_proposed_trains_on_what_it_was_proposed_for() -> None:
    model = j2v.Model.from_schema(*infer_schema(rows(), target="city"), d_model=8, n_layers=1, n_heads=2)
    model.learn(rows())
    model.encode(rows(), strata="train")
    predicted = model.eval().predict(rows(3))
    assert list(predicted) == ["record/city"]


def test_the_sample_is_the_first_rows(tmp_path: Path) -> None:
    records = [{"x": 1.5}] * 5 + [{"x": 1.5, "later": True}] * 5
    assert [field.name for field in infer_schema(records, sample_size=5)] == ["x"]
    for part, chunk in enumerate((records[:5], records[5:])):
        pq.write_table(pa.Table.from_pylist(chunk), tmp_path / f"{part}.parquet")
    assert [field.name for field in infer_schema(tmp_path, sample_size=5)] == ["x"]
    assert [field.name for field in infer_schema(tmp_path)] == ["x", "later"]


def test_names_that_collide_are_told_apart() -> None:
    with pytest.warns(UserWarning, match=r"\[\*\]\.o\.k: its name 'o_k' is taken by \[\*\]\.o_k; it becomes 'o_k_2'"):
        fields = infer_schema([{"o_k": 1.5, "o": {"k": 2.5}}])
    assert {field.name: field.query for field in fields} == {"o_k": "[*].o_k", "o_k_2": "[*].o.k"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([[1.0], [1.0, 2.0]], "1 to 2 items; a Vector needs one width"),
        ([[1.0, None]], "nulls inside"),
        ([None, None], "nothing but nulls"),
        ([1, "a"], "values of several types"),
        ([[]], "no field type fits lists of null"),
        ([datetime.time(3)], "no field type fits time64"),
        ([[{}]], "without a usable field"),
        ([[[1]]], "no field type fits lists of"),
        ([b"x"], "no field type fits binary"),
    ],
)
def test_what_fits_no_field_is_skipped_with_a_warning(value: list[Any], reason: str) -> None:
    with pytest.warns(UserWarning, match=rf"\[\*\]\.bad is skipped: .*{reason}"):
        fields, decisions = infer_schema([{"bad": one, "good": 1.5} for one in value], explain=True)
    assert [field.name for field in fields] == ["good"]
    assert [(one.query, one.type) for one in decisions if "bad" in one.query] == [("[*].bad", None)]


def test_a_clean_table_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        infer_schema(rows())


def test_options() -> None:
    texts = [{"review": f"one two three four five {k}"} for k in range(20)]
    assert infer_schema(texts)[0].type == "category"
    review = infer_schema(texts, infer_text=True, text_model_name="some/model")[0]
    assert (review.type, review.model_name) == ("text", "some/model")
    assert infer_schema(texts, infer_text=True, text_min_avg_tokens=7)[0].type == "category"
    assert infer_schema([{"n": k} for k in range(10)], category_max_cardinality=5)[0].type == "number"
    keys = [{"n_key": k} for k in range(99)]
    assert infer_schema(keys)[0].type == "number"
    assert infer_schema(keys, config=InferenceConfig(id_name_hints=("key",)))[0].type == "category"
    assert infer_schema([{"c": str(k)} for k in range(99)], vocab_cap=50)[0].max_vocab_size == 50
    lists = [{"a": [{"x": 1.5}] * k} for k in range(101)]
    assert infer_schema(lists)[0].max_length == 95
    assert infer_schema(lists, max_array_length=10, overflow="tail")[0].max_length == 10


def test_dates_with_strays() -> None:
    dates = [{"d": "2024-02-01"}] * 9 + [{"d": "soon"}]
    with pytest.warns(UserWarning, match=r"d: 10.0% of the texts taken for dates are none, as 'soon'"):
        assert infer_schema(dates)[0].type == "dateparts"
    assert infer_schema(dates, date_parse_min_ratio=1.0)[0].type == "category"


def test_mistakes_are_named(tmp_path: Path) -> None:
    for call, error, says in (
        (lambda: infer_schema([]), j2v.SchemaError, "at least one row"),
        (lambda: infer_schema({"a": 1}), TypeError, "single mapping"),
        (lambda: infer_schema([1]), TypeError, "row 0 is int"),
        (lambda: infer_schema([{"a": 1}], config=InferenceConfig(), vocab_cap=3), TypeError, "not both; got vocab_cap"),
        (lambda: infer_schema([{"a": 1.5}], vocab_kap=3), j2v.SchemaError, "did you mean 'vocab_cap'"),
        (lambda: infer_schema([{"label": 1.5}], target="lable"), j2v.SchemaError, "did you mean 'label'"),
        (lambda: infer_schema(tmp_path), j2v.ReadError, "no file ends with"),
        (lambda: infer_schema(tmp_path / "none"), j2v.ReadError, "none"),
    ):
        with pytest.raises(error, match=says):
            call()
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "a.ndjson").write_text('{"x": 1}\n')
    with pytest.raises(j2v.ReadError, match="several formats"):
        infer_schema(tmp_path)
    assert infer_schema(tmp_path, suffix="csv")[0].name == "x"
