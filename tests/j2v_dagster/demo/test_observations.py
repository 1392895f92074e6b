"""The demo's records against the CSV files, recomputed row by row, and against the clock."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from j2v_dagster.demo.observations import (
    DAY_DELAYS,
    HOME,
    RECENT_LEGS,
    SCHEMA,
    Sources,
    find_data,
    observe,
    read_sources,
)

FIRST, LAST = date(2013, 1, 8), date(2013, 2, 9)


@pytest.fixture(scope="module")
def sources() -> Sources:
    return read_sources()


@pytest.fixture(scope="module")
def observations(sources: Sources) -> pl.DataFrame:
    return observe(sources, FIRST, LAST)


@cache
def flight_rows() -> list[dict[str, str]]:
    with zipfile.ZipFile(find_data() / "flights.csv.zip") as archive:
        return list(csv.DictReader(io.TextIOWrapper(archive.open("flights.csv"), "utf-8")))


def number(text: str) -> int | None:
    return None if text == "NA" else int(float(text))


def departure(row: dict[str, str]) -> datetime:
    local = datetime(int(row["year"]), int(row["month"]), int(row["day"]), int(row["hour"]), int(row["minute"]))
    return local.replace(tzinfo=ZoneInfo(HOME)).astimezone(UTC)


def test_flights_without_tail_number_are_counted_and_all_cancelled(sources: Sources) -> None:
    rows = flight_rows()
    without = [row for row in rows if row["tailnum"] == "NA"]
    assert len(rows) == 336_776
    assert sources.excluded == len(without) == 2_512
    assert all(row["dep_time"] == "NA" for row in without)
    assert sources.flights.height == len(rows) - len(without)


def test_every_aircraft_day_is_one_observation(observations: pl.DataFrame) -> None:
    legs = Counter(
        (date(2013, int(row["month"]), int(row["day"])), row["tailnum"])
        for row in flight_rows()
        if row["tailnum"] != "NA" and FIRST <= date(2013, int(row["month"]), int(row["day"])) <= LAST
    )
    found = {(row["date"], row["tailnum"]): row["n"] for row in observations.select(
        "date", "tailnum", n=pl.col("legs").list.len()).iter_rows(named=True)}  # fmt: skip
    assert found == dict(legs)
    assert observations["observation_id"].is_unique().all()
    assert observations["observation_id"].is_sorted()
    assert set(observations["day_delay"].unique()) == set(DAY_DELAYS)


def test_arrow_schema_is_the_declared_one(observations: pl.DataFrame) -> None:
    table = observations.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(SCHEMA)
    assert table.schema.equals(SCHEMA)


def test_observations_equal_a_row_by_row_computation(observations: pl.DataFrame) -> None:
    """Targets, legs, weather and the departures of recent legs of 40 records, from the CSV files in plain Python."""
    by_tail: dict[str, list[dict[str, str]]] = {}
    for row in flight_rows():
        by_tail.setdefault(row["tailnum"], []).append(row)
    with open(find_data() / "weather.csv") as file:
        weather = list(csv.DictReader(file))
    for record in observations.sample(40, seed=2013).iter_rows(named=True):
        own_flights = by_tail[record["tailnum"]]
        flights = sorted(own_flights, key=lambda row: (departure(row), row["carrier"], int(row["flight"])))
        own = [row for row in flights if date(2013, int(row["month"]), int(row["day"])) == record["date"]]
        cut = departure(own[0])
        delays = [number(row["arr_delay"]) for row in own]
        if any(row["dep_time"] == "NA" for row in own):
            expected = "cancelled"
        else:
            expected = "late" if any(delay is not None and delay > 15 for delay in delays) else "on_time"
        assert record["day_delay"] == expected, record["observation_id"]
        assert [leg["arr_delay"] for leg in record["legs"]] == delays
        assert [(leg["carrier"], leg["origin"], leg["dest"], leg["distance"]) for leg in record["legs"]] == [
            (row["carrier"], row["origin"], row["dest"], int(row["distance"])) for row in own
        ]
        departures = [leg["sched_dep"].replace(tzinfo=ZoneInfo(HOME)) for leg in record["legs"]]
        assert departures == [departure(row) for row in own]
        assert_weather(record, weather, own[0]["origin"], cut)
        assert_recent(record, flights, cut)


def assert_weather(record: dict[str, Any], weather: list[dict[str, str]], origin: str, cut: datetime) -> None:
    def over(row: dict[str, str]) -> datetime:
        return datetime.fromisoformat(row["time_hour"]) + timedelta(hours=1)

    known = max((row for row in weather if row["origin"] == origin and over(row) <= cut), key=over)
    assert record["weather"]["origin"] == origin
    for name in ("temp", "wind_speed", "precip", "visib", "pressure"):
        assert record["weather"][name] == (None if known[name] == "NA" else float(known[name])), name


def assert_recent(record: dict[str, Any], flights: list[dict[str, str]], cut: datetime) -> None:
    flown = []
    for row in flights:
        day = date(2013, int(row["month"]), int(row["day"]))
        delay = number(row["dep_delay"])
        if day < record["date"] and delay is not None and departure(row) + timedelta(minutes=delay) < cut:
            flown.append((departure(row) + timedelta(minutes=delay), day, row))
    latest = sorted(flown, key=lambda item: item[0], reverse=True)[:RECENT_LEGS]
    assert [(leg["days_ago"], leg["dest"], leg["dep_delay"]) for leg in record["recent"]] == [
        ((record["date"] - day).days, row["dest"], number(row["dep_delay"])) for _, day, row in latest
    ]


def test_nothing_known_only_after_the_first_departure_is_an_input(sources: Sources, observations: pl.DataFrame) -> None:
    """Change everything that happened at or after one day's cuts: no input of that day may change."""
    day = date(2013, 1, 30)
    noon = datetime(2013, 1, 30, 17, tzinfo=UTC)
    before = observations.filter(pl.col("date") == day)
    cuts = {  # only aircraft that had not begun their day by noon can be judged by one common moment
        record["tailnum"]
        for record in before.iter_rows(named=True)
        if record["legs"][0]["sched_dep"].replace(tzinfo=ZoneInfo(HOME)) <= noon
    }
    after_noon = pl.col("departs") >= noon
    left, landed = pl.col("left") >= noon, pl.col("landed") >= noon
    rewritten = sources.flights.with_columns(
        dep_time=pl.when(left | after_noon).then(1).otherwise("dep_time"),
        dep_delay=pl.when(left | after_noon).then(999).otherwise("dep_delay"),
        arr_delay=pl.when(landed | after_noon).then(999).otherwise("arr_delay"),
    )
    weather = sources.weather.with_columns(temp=pl.when(pl.col("over") > noon).then(-99.0).otherwise("temp"))
    changed = Sources(rewritten, sources.planes, weather, sources.excluded)
    after = observe(changed, day, day)
    judged = pl.col("tailnum").is_in(cuts)
    assert len(cuts) > 300
    for column in ("plane", "weather", "recent"):
        assert before.filter(judged)[column].to_list() == after.filter(judged)[column].to_list(), column
    assert before["legs"].to_list() != after["legs"].to_list()  # the rewriting reached the targets


def test_recent_legs_are_of_earlier_days(observations: pl.DataFrame) -> None:
    recent = observations.select("recent").explode("recent").drop_nulls("recent").unnest("recent")
    assert recent["days_ago"].min() == 1
    assert observations["recent"].list.len().max() == RECENT_LEGS


def test_a_leg_still_in_the_air_at_the_cut_has_no_arrival_yet(sources: Sources) -> None:
    """The year's one such case: DL's N900DE, a day late, was on its way to TPA at its next first departure."""
    day = date(2013, 4, 20)
    record = observe(sources, day, day).row(by_predicate=pl.col("tailnum") == "N900DE", named=True)
    latest = record["recent"][0]
    assert (latest["days_ago"], latest["dest"], latest["arr_delay"]) == (1, "TPA", None)
    assert latest["dep_delay"] > 600
    assert all(leg["arr_delay"] is not None for leg in record["recent"][1:])


def test_arrival_moments_leave_time_to_taxi(sources: Sources) -> None:
    """Landing minus take-off is the time in the air plus 5 to 240 minutes on the ground: the time zones are right."""
    ground = (
        sources.flights.select((pl.col("landed") - pl.col("left")).dt.total_minutes() - pl.col("air_time"))
        .to_series()
        .drop_nulls()
    )
    assert ground.len() == 327_346
    assert ground.is_between(1, 240).all()


def test_nulls_of_the_sources_stay_nulls(observations: pl.DataFrame) -> None:
    assert observations["plane"].null_count() > 0
    assert observations.select(pl.col("weather").struct.field("pressure").null_count()).item() > 0
    years = observations.select(pl.col("plane").struct.field("year").null_count()).item()
    assert years > observations["plane"].null_count()
    assert observations["recent"].null_count() == 0
    diverted = observations.filter(pl.col("day_delay") != "cancelled").explode("legs").unnest("legs")
    assert diverted["arr_delay"].null_count() > 0
