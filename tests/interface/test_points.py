"""The points where we promise more than the interface we follow, each by its number in the specification."""

from __future__ import annotations

import copy
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import json2vec as j2v
from json2vec import columns
from json2vec.address import Address
from json2vec.reading.plan import Plan
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files, snapshot_frame
from json2vec.storage.opening import open_store

LABELS = ["a", "b", "c"]
SMALL: dict[str, Any] = {"d_model": 8, "n_layers": 1, "n_heads": 2}

# Generated schemas, and records that fit them.

LEAVES: dict[str, tuple[Any, pa.DataType, st.SearchStrategy]] = {
    "number": (lambda name: j2v.Number(name), pa.float64(), st.floats(width=64)),
    "integer": (lambda name: j2v.Number(name), pa.int64(), st.integers(-(2**40), 2**40)),
    "text_number": (lambda name: j2v.Number(name), pa.string(), st.sampled_from(["1.5", " 2 ", "nan", "-inf"])),
    "category": (lambda name: j2v.Category(name, max_vocab_size=4), pa.string(), st.sampled_from([*LABELS, "?"])),
    "flag": (lambda name: j2v.Category(name, max_vocab_size=4), pa.bool_(), st.booleans()),
    "set": (lambda name: j2v.Set(name, max_vocab_size=4), pa.list_(pa.string()),
            st.lists(st.none() | st.sampled_from([*LABELS, "?"]), max_size=3)),
    "entity": (lambda name: j2v.Entity(name), pa.string(), st.sampled_from("xyz")),
    "vector": (lambda name: j2v.Vector(name, n_dim=2), pa.list_(pa.float64()),
               st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2)),
    "when": (lambda name: j2v.DateParts(name, dateparts=["month_of_year", "hour_of_day"]), pa.timestamp("us"),
             st.datetimes()),
}  # fmt: skip


class Shape:
    """A generated array: its fields, their Arrow type, and a strategy for its items."""

    def __init__(self, nodes: list[j2v.Leaf | j2v.Array], fields: list[pa.Field], values: dict[str, Any]) -> None:
        self.nodes, self.type = nodes, pa.struct(fields)
        # Every key may be null or missing.
        self.items = st.fixed_dictionaries({}, optional={key: st.none() | value for key, value in values.items()})


@st.composite
def shapes(draw: st.DrawFn, depth: int = 0) -> Shape:
    nodes: list[Any] = []
    fields: list[pa.Field] = []
    values: dict[str, Any] = {}
    kinds = [kind for kind in LEAVES if depth or kind != "entity"]
    for index, kind in enumerate(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3))):
        make, arrow, strategy = LEAVES[kind]
        name = f"{kind}{index}"
        nodes.append(make(name))
        fields.append(pa.field(name, arrow))
        values[name] = strategy
    for index in range(draw(st.integers(0, 2 - depth)) if depth < 2 else 0):
        inner = draw(shapes(depth + 1))
        name = f"array{index}"
        length = draw(st.integers(2, 3))
        overflow = draw(st.sampled_from(["head", "tail"]))
        nodes.append(j2v.Array(*inner.nodes, name=name, max_length=length, overflow=overflow))
        fields.append(pa.field(name, pa.list_(inner.type)))
        values[name] = st.lists(st.none() | inner.items, max_size=4)
    return Shape(nodes, fields, values)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Shape, list[dict]]:
    shape = draw(shapes())
    return shape, draw(st.lists(shape.items, min_size=1, max_size=8))


def build(case: tuple[Shape, list[dict]]) -> tuple[j2v.Model, list[dict], pa.RecordBatch]:
    """A model with labels learned, records, and the same records in Arrow."""
    shape, records = case
    torch.manual_seed(1)
    model = j2v.Model.from_schema(
        *shape.nodes, j2v.Number("target", target=True), embed=True, batch_size=64, d_model=16, n_layers=1, n_heads=2
    )
    rows = pa.RecordBatch.from_struct_array(pa.array(records, shape.type))
    model.learn(rows.slice(0, 2))
    return model.eval(), records, rows


def assert_equal(one: Any, other: Any) -> None:
    assert one.fields.keys() == other.fields.keys()
    for address, field in one.fields.items():
        assert torch.equal(field.state, other.fields[address].state), address
        for key, value in field.content.items():
            assert torch.equal(value, other.fields[address].content[key]), (address, key)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_point_01_rows_and_columns_encode_alike(case: tuple[Shape, list[dict]]) -> None:
    model, records, rows = build(case)
    assert_equal(model.encode(records), model.encode(rows))
    assert_equal(model.encode(rows.to_pylist()), model.encode(rows))
    half = len(records) // 2
    assert_equal(model.encode(records[half:]), model.encode(rows.slice(half)))  # slices keep their offsets


def test_point_01_positions() -> None:
    model = j2v.Model.from_schema(
        j2v.Number("top"),
        j2v.Array(j2v.Number("p"), j2v.Number("q"), j2v.Array(j2v.Number("z"), name="deep", max_length=2), name="items",
                  max_length=3),
        **SMALL,
    )  # fmt: skip
    rows = [
        {"top": None, "items": [{"q": 1}, {"p": 2, "q": 2}, {"p": None, "q": 3}]},
        {"items": [None, {"deep": [{}, {"z": 5}]}, {"deep": None}]},
        {"top": 1, "items": None},
        {"top": 2, "items": []},
    ]
    batch = model.encode(rows)
    v, n, p = j2v.Tokens.valued, j2v.Tokens.null, j2v.Tokens.padded

    def states(path: str) -> list:
        return batch.fields[Address("record", *path.split("/"))].state.flatten(1).tolist()

    assert states("top") == [[n], [n], [v], [v]]
    assert states("items/p") == [[n, v, n], [n, n, n], [p, p, p], [p, p, p]]
    assert states("items/q") == [[v, v, v], [n, n, n], [p, p, p], [p, p, p]]
    assert states("items/deep/z") == [[p] * 6, [p, p, n, v, p, p], [p] * 6, [p] * 6]
    assert batch.fields[Address("record/items/p")].content["value"][0].flatten().tolist() == [0, 2, 0]


def bad_values() -> list[tuple[j2v.Leaf, list[Any], str]]:
    hour = j2v.DateParts("x", dateparts=["hour_of_day"])
    return [
        (j2v.Number("x"), ["1", None, "12 euro"], "expected a number, found str '12 euro'"),
        (j2v.Vector("x", n_dim=2), [[1.0, 2.0], None, [1.0, None]], "a null or NaN inside a vector"),
        (j2v.Vector("x", n_dim=2), [[1.0, 2.0], None, [1.0]], "expected a list of 2 numbers, found 1"),
        (hour, [None, None, 1_700_000_000], "expected a date or text, found the number 1700000000"),
        (hour, ["2024-01-01", None, "soon"], "expected a date or an ISO 8601 text, found 'soon'"),
    ]


@pytest.mark.parametrize(("leaf", "values", "says"), bad_values(), ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("query", [None, "[*].x || `null`"], ids=["columnar", "jmespath"])
def test_point_02_errors_name_address_file_and_row(
    leaf: j2v.Leaf, values: list[Any], says: str, query: str | None, tmp_path: Path
) -> None:
    model = j2v.Model.from_schema(leaf.replace(query=query), **SMALL)
    good = pa.array([values[0]] * 3, pa.array(values).type)
    pq.write_table(pa.table({"x": good}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": values}), tmp_path / "b.parquet")
    store = open_store(tmp_path)
    snapshot = snapshot_files(store, "parquet")
    with pytest.raises(j2v.EncodeError) as error:
        list(map(model.encode, read_rows(snapshot, store, [(0, 6)], batch_size=4)))
    message = str(error.value)
    assert message.startswith("record/x: ")
    assert says in message
    assert "b.parquet, row 2" in message


def test_point_02_errors_below_arrays_name_the_record() -> None:
    model = j2v.Model.from_schema(j2v.Array(j2v.Number("p"), name="items", max_length=2), **SMALL)
    rows = [{"items": [{"p": "1"}]}, {"items": None}, {"items": [{"p": None}, {"p": "x"}]}]
    for given_rows in (rows, pa.RecordBatch.from_pylist(rows)):
        with pytest.raises(j2v.EncodeError, match=r"record/items/p: .*'x' \(at row 2"):
            model.encode(given_rows)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e300, 3e38])
def test_point_02_infinities_are_valued_and_clamped(value: float) -> None:
    model = j2v.Model.from_schema(
        j2v.Number("x"), j2v.Vector("v", n_dim=2), j2v.Number("y", target=True), embed=True, **SMALL
    )
    batch = model.encode([{"x": value, "v": [value, 1.0]}])
    assert [int(field.state) for field in batch.fields.values()] == [j2v.Tokens.valued] * 2
    predicted = model.predict([{"x": value, "v": [value, 1.0]}])
    assert np.isfinite(predicted[Address("record/y")]["content"]).all()
    assert np.isfinite(predicted[Address("record")]["embedding"]).all()


def test_point_02_nan_is_null_everywhere() -> None:
    model = j2v.Model.from_schema(j2v.Number("x"), j2v.Category("c", max_vocab_size=4), **SMALL)
    rows = [{"x": float("nan"), "c": float("nan")}]
    for given_rows in (rows, pa.RecordBatch.from_pylist(rows)):
        assert [int(field.state) for field in model.encode(given_rows).fields.values()] == [j2v.Tokens.null] * 2


def test_point_02_numbers_in_every_spelling_of_python() -> None:
    model = j2v.Model.from_schema(j2v.Number("x"), **SMALL)
    values = [decimal.Decimal("1.5"), 2, np.float32(3), np.int64(4), "5", True]
    assert model.encode([{"x": value} for value in values]).fields[Address("record/x")].content[
        "value"
    ].flatten().tolist() == [1.5, 2, 3, 4, 5, 1]


def floats(column: pa.StructArray) -> np.ndarray:
    """float64 (rows, numbers): all floating-point numbers of a predictions column."""
    arrays: list[np.ndarray] = []

    def visit(array: Any) -> None:
        if pa.types.is_struct(array.type):
            for index in range(array.type.num_fields):
                visit(array.field(index))
        elif pa.types.is_list(array.type):
            visit(array.flatten())
        elif pa.types.is_floating(array.type):
            arrays.append(array.to_numpy(zero_copy_only=False).astype(np.float64).reshape(len(column), -1))

    visit(column)
    return np.concatenate(arrays, axis=1)


@settings(max_examples=25, deadline=None)
@given(cases(), st.integers(1, 3), st.integers(1, 2), st.integers(1, 4))
def test_point_03_sharding_and_batching_change_nothing(
    case: tuple[Shape, list[dict]], ranks: int, workers: int, batch_size: int
) -> None:
    model, records, rows = build(case)
    table = pa.Table.from_batches([rows])
    together = floats(model.infer(model.encode(rows)).columns())
    plan = Plan(snapshot_frame(table), ranks)
    parts = [
        (part.span[0], model.infer(model.encode(part)).columns())
        for rank in range(ranks)
        for worker in range(workers)
        for part in read_rows(plan.snapshot, table, plan.share(rank, worker, workers), batch_size=batch_size)
    ]
    apart = pa.concat_arrays([column for _, column in sorted(parts, key=lambda part: part[0])])
    assert len(apart) == len(records)
    found = floats(apart)
    assert (np.abs(found - together) <= 1e-5 + 1e-5 * np.abs(together)).all()


def test_point_04_null_targets_carry_no_content_loss() -> None:
    model = j2v.Model.from_schema(
        j2v.Number("x"), j2v.Number("y", target=True), j2v.Vector("v", n_dim=2, target=True), **SMALL
    )
    model.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    batch = model.encode([{"x": 1.0, "y": None, "v": None}] * 4, strata="train")
    model.training_step(batch, 0).backward()
    for name, parameter in model.named_parameters():
        if ".decoder.regression." in name:
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() == 0, name
    assert model.nodes["record/y"].decoder.classification.weight.grad.abs().sum() > 0  # type: ignore[union-attr]


def test_point_04_targets_are_normalised_in_training_and_raw_when_written() -> None:
    model = j2v.Model.from_schema(j2v.Number("x"), j2v.Number("y", target=True), **SMALL)
    model.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    values = [1e6, 1.2e6, 0.8e6, None]
    model.training_step(model.encode([{"x": 1.0, "y": value} for value in values], strata="train"), 0)
    normalizer = model.nodes["record/y"].embedder.normalizer  # type: ignore[union-attr]
    assert float(normalizer.mean) == pytest.approx(1e6)
    assert float(normalizer.count) == 3
    written = model.eval().predict([{"x": 1.0}])[Address("record/y")]["content"]
    assert abs(written[0] - 1e6) < 1e6  # an untrained head is about 0 in normalised units


def test_point_04_one_absurd_value_does_not_spoil_the_normaliser() -> None:
    model = j2v.Model.from_schema(j2v.Number("x"), j2v.Number("y", target=True), **SMALL)
    model.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    for y in (3e38, 1e300, -1e17, 5.0):
        loss = model.training_step(model.encode([{"x": y, "y": y}, {"x": 1.0, "y": 2.0}], strata="train"), 0)
        assert torch.isfinite(loss)
    assert np.isfinite(model.eval().predict([{"x": 1.0}])[Address("record/y")]["content"]).all()


def test_point_05_unknown_words_are_errors_with_a_suggestion() -> None:
    model = j2v.Model.from_schema(j2v.Number("x"), **SMALL)
    for call, says in (
        (lambda: j2v.Number("x", jiter=1), "did you mean 'jitter'"),
        (lambda: j2v.Array(j2v.Number("x"), name="a", overflwo="head"), "did you mean 'overflow'"),
        (lambda: j2v.Mask(rate=0.1, windwo=3), "did you mean 'window'"),
        (lambda: model.update(j2v.where("name") == "nobody", p_mask=0.1), "matches no node"),
        (lambda: model.update("x", p_msak=0.1), "did you mean 'p_mask'"),
        (lambda: model.predict([{}], reconstruct=["y"]), "no active leaf"),
        (lambda: j2v.PolarsDataModule(model=model, predict=pl.DataFrame({"x": [1]}), num_wokers=1), "num_workers"),
        (lambda: j2v.helpers.infer_schema([{"x": 1.5}], sample_sise=3), "did you mean 'sample_size'"),
    ):
        with pytest.raises(j2v.SchemaError, match=says):
            call()


def test_point_11_a_checkpoint_is_tensors_and_plain_values(tmp_path: Path) -> None:
    model = j2v.Model.from_schema(
        j2v.Array(j2v.Number("x"), j2v.Entity("who"), name="items", max_length=2,
                  mask=j2v.Mask(count=1, exclude=j2v.where("type") == "entity")),
        j2v.Category("c", max_vocab_size=4, topk=[2]), optimizer=j2v.helpers.optimizers.adamw(1e-3), **SMALL,
    )  # fmt: skip

    def check(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                assert type(key) is str
                check(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                check(item)
        else:
            assert value is None or type(value) in (str, int, float, bool, torch.Tensor), value

    values = torch.load(model.save(tmp_path / "m.ckpt"), weights_only=True)
    check({**values, "state_dict": dict(values["state_dict"])})
    again = j2v.Model.load(tmp_path / "m.ckpt")
    assert again.optimizer == model.optimizer
    assert j2v.Model.load(again.save(tmp_path / "again.ckpt")).fingerprint() == model.fingerprint()


def test_point_15_what_comes_out_is_decided_by_the_schema() -> None:
    model = j2v.Model.from_schema(
        j2v.Category("c", max_vocab_size=4), j2v.Number("y", target=True), j2v.Number("e", embed=True), **SMALL
    )
    model.learn([{"c": "a"}])
    plain, hidden = {"c": "a", "e": 1.0}, {"c": j2v.MASK_LITERAL, "e": 1.0}
    for rows in ([plain], [hidden], [plain, hidden]):
        assert list(model.predict(rows)) == ["record/y", "record/e"]
        assert list(model.predict(rows, reconstruct=["c"])) == ["record/c", "record/y", "record/e"]
    batch = model.encode([plain, hidden])
    assert batch.fields[Address("record/c")].state.flatten().tolist() == [j2v.Tokens.valued, j2v.Tokens.masked]
    alone = model.predict([plain])[Address("record/y")]["content"][0]
    assert model.predict([hidden, plain])[Address("record/y")]["content"][1] == pytest.approx(alone, abs=1e-5)
    texts = pa.array(["a", j2v.MASK_LITERAL])
    for column in (texts, texts.dictionary_encode(), texts.cast(pa.large_string()), texts.cast(pa.string_view())):
        rows = pa.RecordBatch.from_arrays([column, pa.array([1.0, 1.0])], names=["c", "e"])
        states = model.encode(rows).fields[Address("record/c")].state
        assert states.flatten().tolist() == [j2v.Tokens.valued, j2v.Tokens.masked]
    with pytest.raises(j2v.EncodeError, match="prediction only"):
        model.encode([hidden], strata="validate")


def test_point_16_units_are_a_stored_flag(golden: Path, tmp_path: Path) -> None:
    imported = j2v.Model.from_exported(golden)
    new = j2v.Model.from_schema(j2v.Number("x", target=True), j2v.Number("y"), **SMALL)
    for model, units in ((imported, "raw"), (new, "normalized")):
        loaded = j2v.Model.load(model.save(tmp_path / "m.ckpt"))
        found = {leaf.units for leaf in loaded.schema.leaves.values() if isinstance(leaf, j2v.Number)}
        assert found == {units}
    # The flag decides, not what the normaliser holds.
    raw = copy.deepcopy(new)
    raw.update("x", units="raw")
    for model in (new, raw):
        model.nodes["record/x"].embedder.normalizer.mean.fill_(1000.0)  # type: ignore[union-attr]
    address = Address("record/x")
    difference = new.predict([{"y": 1.0}])[address]["content"][0] - raw.predict([{"y": 1.0}])[address]["content"][0]
    assert difference == pytest.approx(1000.0, abs=1e-2)


FLOAT, STATES = pa.float32(), ("valued", "null", "padded", "masked", "other")


def test_point_18_what_is_written() -> None:
    model = j2v.Model.from_schema(
        j2v.Number("filler"),
        j2v.Category("text", target=True, max_vocab_size=8, topk=[2]),
        j2v.Category("whole", target=True, max_vocab_size=8),
        j2v.Category("flag", target=True, max_vocab_size=8), j2v.Category("mixed", target=True, max_vocab_size=8),
        j2v.Category("real", target=True, max_vocab_size=8), j2v.Category("none", target=True, max_vocab_size=8),
        j2v.DateParts("when", dateparts=["day_of_week", "hour_of_day"], target=True),
        j2v.Set("tags", target=True, max_vocab_size=8), j2v.Vector("v", n_dim=2, target=True),
        j2v.Array(j2v.Entity("who", target=True), j2v.Number("p"), name="items", max_length=3), **SMALL,
    )  # fmt: skip
    model.learn([{"text": "a", "whole": 1, "flag": True, "mixed": 1, "real": 1.5, "tags": ["x", "y"]},
                 {"text": "b", "whole": 7, "flag": False, "mixed": "1", "real": 2, "tags": []}])  # fmt: skip
    written = model.infer(model.encode([{}, {"filler": 1.0}])).columns()
    assert written.type == model.output_type()
    types = {
        field.name.removeprefix("record/"): {inner.name: inner.type for inner in field.type} for field in written.type
    }
    for payload in types.values():
        assert [field.name for field in payload["state"]] == list(STATES)
    labelled = ("text", "whole", "flag", "mixed", "real", "none")
    values = {name: types[name]["content"].field("value").type for name in labelled}
    assert values == {"text": pa.string(), "whole": pa.int64(), "flag": pa.bool_(), "mixed": pa.string(),
                      "real": pa.float64(), "none": pa.string()}  # fmt: skip
    part = pa.struct([("value", pa.int32()), ("probability", FLOAT)])
    assert types["when"]["content"] == pa.struct([("day_of_week", part), ("hour_of_day", part)])
    slots = pa.struct([("value", pa.list_(pa.int64())), ("probability", pa.list_(FLOAT))])
    assert types["items/who"]["content"] == slots
    assert types["tags"]["content"] == pa.map_(pa.string(), FLOAT)
    assert types["v"]["content"] == pa.list_(FLOAT)
    rows = written.to_pylist()
    assert rows[0]["record/none"]["content"] == {"value": None, "probability": 0.0, "topk": []}
    assert sorted(best["label"] for best in rows[0]["record/text"]["content"]["topk"]) == ["a", "b"]
    assert rows[0]["record/mixed"]["content"]["value"] == "1"
    assert len(rows[0]["record/items/who"]["content"]["value"]) == 3
    assert sum(rows[0]["record/items/who"]["state"][name][2] for name in STATES) == pytest.approx(1)
    assert 0 <= rows[0]["record/when"]["content"]["hour_of_day"]["value"] < 24
    assert [label for label, _ in rows[0]["record/tags"]["content"]] == ["x", "y"]


NESTED = [{"a": {"odd key": {"b": 1.0}}, "items": [{"p": {"q": 2.0}}, {"p": None}, {}]}, {"a": None}, {}]


def test_point_19_keys_and_projections_never_touch_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    model = j2v.Model.from_schema(
        j2v.Number("x", query='[*].a."odd key".b'),
        j2v.Array(j2v.Number("y", query="[*].items[*].p.q"), name="list", max_length=3),
        **SMALL,
    )
    by_row = model.encode(NESTED)
    monkeypatch.setattr(columns, "resolve_rows", None)
    monkeypatch.setattr("json2vec.fields.encode.resolve_rows", None)
    batch = model.encode(pa.RecordBatch.from_pylist(NESTED))
    assert_equal(batch, by_row)
    assert batch.fields[Address("record/x")].content["value"].flatten().tolist() == [1, 0, 0]
    assert batch.fields[Address("record/list/y")].state.reshape(3, 3).tolist() == [[0, 1, 1], [2, 2, 2], [2, 2, 2]]


def test_point_19_other_expressions_run_through_jmespath() -> None:
    model = j2v.Model.from_schema(
        j2v.Number("first", query="[*].items[0].n"),
        j2v.Number("total", query="[*].sum(items[*].n)"),
        j2v.Array(j2v.Number("big", query="[*].items[?n > `1`].n"), name="list", max_length=3),
        **SMALL,
    )
    rows = [{"items": [{"n": 1.0}, {"n": 2.0}, {"n": 3.0}]}, {"items": []}]
    for given_rows in (rows, pa.RecordBatch.from_pylist(rows)):
        batch = model.encode(given_rows)
        found = {address.name: field.content["value"].flatten().tolist() for address, field in batch.fields.items()}
        assert found == {"first": [1, 0], "total": [6, 0], "big": [2, 3, 0, 0, 0, 0]}
        assert batch.fields[Address("record/first")].state.flatten().tolist() == [j2v.Tokens.valued, j2v.Tokens.null]
    with pytest.raises(j2v.EncodeError, match=r"record/total: query .* fails: .*row 1"):
        model.encode([rows[0], {"items": [{"n": 1.0}, {"n": "x"}]}])


def test_point_19_the_docs_say_what_it_costs() -> None:
    text = (Path(j2v.__file__).parents[1] / "docs/schemas.md").read_text()
    assert "row by row" in text[text.index("## Queries") :]


def test_labels_are_the_same_in_rows_and_columns_of_any_unit() -> None:
    model = j2v.Model.from_schema(j2v.Category("t", max_vocab_size=4), **SMALL)
    column = pa.array([0, 3_600_000_000_000], pa.timestamp("ns"))
    rows = pa.RecordBatch.from_arrays([column.cast(pa.timestamp("us"))], names=["t"]).to_pylist()
    model.learn(rows)
    for unit in ("s", "ms", "us", "ns"):
        batch = model.encode(pa.RecordBatch.from_arrays([column.cast(pa.timestamp(unit))], names=["t"]))
        assert batch.fields[Address("record/t")].content["value"].flatten().tolist() == [0, 1], unit


def test_texts_that_are_no_unicode_are_still_labels() -> None:
    model = j2v.Model.from_schema(j2v.Category("c", max_vocab_size=4), **SMALL)
    model.learn([{"c": "\ud800"}, {"c": "a"}])
    batch = model.encode([{"c": "a"}, {"c": "\ud800"}])
    assert batch.fields[Address("record/c")].content["value"].flatten().tolist() == [1, 0]
