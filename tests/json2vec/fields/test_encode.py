"""What every field type encodes."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import json2vec as j2v
from json2vec.fields.dateparts import DEPTHS, FIRST, part_values
from json2vec.fields.vocabulary import Vocabulary

V, N = int(j2v.Tokens.valued), int(j2v.Tokens.null)


def encode(field: j2v.Leaf, values: object, *, learn: object = None) -> tuple[list, dict]:
    """State and content of one root field, by both paths, which must agree."""
    model = j2v.Model.from_schema(field, j2v.Number("filler"), d_model=8, n_layers=1, n_heads=2)
    if learn is not None:
        model.learn([{field.name: value} for value in learn])  # type: ignore[attr-defined]
    results = []
    if not isinstance(values, pa.Array):
        results.append(model.encode([{field.name: value} for value in values]))  # type: ignore[attr-defined]
    array = values if isinstance(values, pa.Array) else None
    if array is None:
        try:
            array = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            array = None
    if array is not None:
        results.append(model.encode(pa.RecordBatch.from_arrays([array], names=[field.name])))
    found = [
        (one.state.flatten().tolist(), {key: value.flatten(0, 1).tolist() for key, value in one.content.items()})
        for one in (result.fields[j2v.Address("record", field.name)] for result in results)
    ]
    for other in found[1:]:
        assert other == found[0]
    return found[0]


def test_number() -> None:
    state, content = encode(j2v.Number("x"), [1.5, None, float("nan"), float("inf"), -0.0])
    assert state == [V, N, N, V, V]
    assert content["value"] == [1.5, 0, 0, float("inf"), 0]
    assert encode(j2v.Number("x"), ["12", " 1e3 ", "nan"]) == ([V, V, N], {"value": [12, 1000, 0]})
    assert encode(j2v.Number("x"), [True, False])[1]["value"] == [1, 0]
    assert encode(j2v.Number("x"), [2**70, 1])[1]["value"] == [np.float32(2**70), 1]
    assert encode(j2v.Number("x"), [1, "2.5", True])[1]["value"] == [1, 2.5, 1]


def test_number_rejects_text_naming_the_row() -> None:
    model = j2v.Model.from_schema(j2v.Number("x"), d_model=8, n_layers=1, n_heads=2)
    for rows in ([{"x": "1"}, {"x": None}, {"x": "abc"}], pa.RecordBatch.from_pydict({"x": ["1", None, "abc"]})):
        with pytest.raises(j2v.EncodeError, match=r"record/x: expected a number, found str 'abc' \(at row 2"):
            model.encode(rows)


def test_category_unknown_labels_and_equal_numbers() -> None:
    field = j2v.Category("x", max_vocab_size=4)
    assert encode(field, ["b", "z", None, "a"], learn=["a", "b"])[1]["value"] == [1, 4, 0, 0]
    assert encode(field, [1, 2], learn=[True, "1"])[1]["value"] == [0, 4]
    assert encode(field, [1.0, 0.0], learn=[1])[1]["value"] == [0, 4]
    assert encode(field, ["1", "x"], learn=[1, "1"])[1]["value"] == [1, 4]
    assert encode(field, [1, "1", 2.5, True], learn=[1, "1", 2.5])[1]["value"] == [0, 1, 2, 0]
    assert encode(field, [2**60, 2**60 + 1], learn=[2**60])[1]["value"] == [0, 4]


@pytest.mark.parametrize("field", [j2v.Category("x", max_vocab_size=4), j2v.Set("x", max_vocab_size=4)])
def test_labels_are_unknown_while_none_are_learned(field: j2v.Leaf) -> None:
    _, content = encode(field, ["a", None])
    (labels,) = content.values()
    assert np.ravel(labels)[0] == 4


def test_vocabulary_learns_in_order_until_full() -> None:
    vocabulary = Vocabulary(3)
    vocabulary.learn(pa.array(["b", "a", "b"]))
    vocabulary.learn(pa.array(["c", "d"]).dictionary_encode())
    assert vocabulary.labels == ["b", "a", "c"]
    assert vocabulary.lookup(pa.array(["d", "c", "a"]).dictionary_encode()).tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(["a"], pa.string()), ([1, 2], pa.int64()), ([True, False], pa.bool_()), ([1, 2.5], pa.float64()),
     ([1, "a"], pa.string()), ([], pa.string())],
)  # fmt: skip
def test_a_vocabulary_speaks_one_type(labels: list, kind: pa.DataType) -> None:
    assert Vocabulary(9, labels).arrow_type == kind


def test_set() -> None:
    field = j2v.Set("x", max_vocab_size=4)
    learn = [["d", "e"], ["c"]]
    state, content = encode(field, [["c", "zz", None, "d", "c"], [], None], learn=learn)
    assert state == [V, V, N]
    assert [sorted(labels) for labels in content["labels"]] == [[0, 2], [4, 4], [4, 4]]
    assert encode(field, ["e", "q"], learn=learn)[1]["labels"] == [[1], [4]]


def test_vector() -> None:
    field = j2v.Vector("x", n_dim=2)
    assert encode(field, [[1.0, 2.0], None])[1]["value"] == [[1, 2], [0, 0]]
    for bad in ([[1.0, None]], [[1.0]], [[1.0, float("nan")]], [["a", "b"]]):
        with pytest.raises(j2v.EncodeError, match=r"record/x: .*row 0"):
            encode(field, bad)


def test_entity_ids_are_per_row() -> None:
    model = j2v.Model.from_schema(
        j2v.Array(j2v.Entity("who"), name="legs", max_length=4), d_model=8, n_layers=1, n_heads=2
    )
    records = [
        {"legs": [{"who": "b"}, {"who": "a"}, {"who": "b"}]},
        {"legs": [{"who": "a"}, {"who": None}, {"who": "c"}, {"who": "a"}]},
    ]
    for rows in (records, pa.RecordBatch.from_pylist(records)):
        field = model.encode(rows).fields[j2v.Address("record/legs/who")]
        assert field.content["value"].reshape(2, 4).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9998, 12, 30)), min_size=1, max_size=5))
def test_date_parts_against_the_calendar(times: list[datetime.datetime]) -> None:
    minutes = np.array(times, "datetime64[m]")
    expected = {
        "month_of_year": [t.month for t in times],
        "day_of_month": [t.day for t in times],
        "day_of_year": [t.timetuple().tm_yday for t in times],
        "day_of_week": [t.isoweekday() % 7 for t in times],
        "hour_of_day": [t.hour for t in times],
        "minute_of_hour": [t.minute for t in times],
        "week_of_month": [1 + (t.day - 1 + t.replace(day=1).isoweekday() % 7) // 7 for t in times],
    }
    for part, values in expected.items():
        assert part_values(minutes, part).tolist() == values, part
    for part, depth in DEPTHS.items():
        found = part_values(minutes, part)
        assert (found >= FIRST[part]).all()
        assert (found < FIRST[part] + depth).all()


def test_week_54_is_clamped() -> None:
    assert part_values(np.array(["2020-12-31", "1992-12-31"], "datetime64[m]"), "week_of_year").tolist() == [53, 53]


def test_dates_in_every_spelling() -> None:
    field = j2v.DateParts("x", dateparts=["day_of_month", "hour_of_day", "minute_of_hour"])
    values = [
        "2020-02-29",
        "2020-02-29T13:05",
        "2020-02-29 13:05:59.123456789",
        "2020-02-29T13:05:00+02:00",
        "2020-02-29T13:05:00Z",
    ]
    _, content = encode(field, values)
    assert content["hour_of_day"] == [5, 18, 18, 16, 18]
    assert content["minute_of_hour"] == [5, 10, 10, 10, 10]
    stamps = pa.array([datetime.datetime(1969, 12, 31, 23, 59, 59)], pa.timestamp("us"))
    assert encode(field, stamps)[1]["minute_of_hour"] == [64]
    assert encode(field, pa.array([datetime.date(2020, 2, 29)]))[1]["day_of_month"] == [34]
    assert encode(j2v.DateParts("x", dateparts=["hour_of_day"], unit="s"), [3600 * 5])[1]["hour_of_day"] == [10]
    assert encode(j2v.DateParts("x", dateparts=["day_of_month"], pattern="%d/%m/%Y"), ["29/02/2020"])[1] == {
        "day_of_month": [34]
    }
    for bad in ([1_700_000_000], ["yesterday"], ["2020-02-30"]):
        with pytest.raises(j2v.EncodeError, match=r"record/x: expected a date or .*row 0.*"):
            encode(field, bad)


def test_slots_without_a_value_look_up_their_own_state() -> None:
    assert encode(j2v.DateParts("x", dateparts=["hour_of_day"]), ["2020-01-01", None])[1]["hour_of_day"] == [5, N]
