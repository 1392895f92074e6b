"""What DateParts encodes, against the calendar and in every spelling."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest
from encoded import N, encode
from hypothesis import given, settings
from hypothesis import strategies as st

import json2vec as j2v
from json2vec.fields.dateparts import DEPTHS, FIRST, part_values


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
