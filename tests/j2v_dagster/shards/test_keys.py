"""What a definition accepts has a folder, each its own, and the folder leads back to the key."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from j2v_dagster.shards.keys import check_folder, key_of, new_keys, newest, newest_folders
from j2v_dagster.shards.partitions import build_partitions, partition_folder

PLAIN, DAYS = "dt={partition}", "{partition:%Y/%m/%d}"
HOURS, MINUTES = "{partition:%Y/%m/%d/%H}", "day={partition:%Y%m%d}/{partition:%H%M}"
ZONES = [
    "UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns",
    "Africa/Casablanca", "America/Sao_Paulo", "Pacific/Apia", "Antarctica/Troll", "Asia/Tehran", "Europe/Dublin",
]  # fmt: skip
STEPS = ["0 * * * *", "30 * * * *", "*/15 * * * *", "0 */6 * * *", "30 1,2,13 * * *", "0 1 * * *", "0 2 * * 0",
         "0 0 * * *", "0 0 * * 1", "0 0 1 * *", "0 5 1,15 * *"]  # fmt: skip
FORMATS = ["%Y-%m-%d", "%Y-%m-%d-%H:%M", "%Y-%m", "%Y/%m/%d", "%Y-%m-%dT%H:%M:%S%z"]


def windows(cron: str, form: str, zone: str, start: str = "2018-01-01", **more: object) -> dg.PartitionsDefinition:
    begin = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    return dg.TimeWindowPartitionsDefinition(begin, form, cron_schedule=cron, timezone=zone, **more)  # type: ignore[arg-type]


def changes(zone: str) -> list[datetime]:
    """The days within ten years on which the clock of a zone is set."""
    days = [datetime(2018, 1, 1, 12, tzinfo=ZoneInfo(zone)) + timedelta(days=day) for day in range(3650)]
    return [one for one, next_one in pairwise(days) if one.utcoffset() != next_one.utcoffset()]


CHANGES = {zone: changes(zone) for zone in ZONES}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ZONES), st.sampled_from(STEPS), st.sampled_from(FORMATS),
    st.sampled_from([PLAIN, DAYS, HOURS, MINUTES]), st.integers(0, 3649), st.booleans(),
)  # fmt: skip
def test_every_key_of_what_is_accepted_goes_to_a_folder_and_back(
    zone: str, cron: str, form: str, template: str, day: int, at_a_change: bool
) -> None:
    partitions = windows(cron, form, zone, end="2028-01-01" if form == "%Y-%m-%d" else None)
    assert isinstance(partitions, dg.TimeWindowPartitionsDefinition)
    try:
        check_folder(template, partitions, name="p")
    except ValueError:
        return
    near = CHANGES[zone][day % len(CHANGES[zone])] if at_a_change and CHANGES[zone] else None
    begin = near or datetime(2018, 1, 1, tzinfo=ZoneInfo(zone)) + timedelta(days=day)
    begin = max(begin - timedelta(days=1), datetime(2018, 1, 1, tzinfo=ZoneInfo(zone)))
    keys = partitions.get_partition_keys_in_time_window(dg.TimeWindow(begin, begin + timedelta(days=3)))
    keys = [key for key in keys if partitions.has_partition_key(key)]
    folders = [partition_folder(key, template) for key in keys]
    assert len(set(folders)) == len(set(keys)) == len(keys)
    assert [key_of(folder, template, partitions) for folder in folders] == keys


def test_the_hour_that_comes_twice_is_two_folders() -> None:
    end = "2025-11-02-04:00"
    hourly = dg.HourlyPartitionsDefinition("2025-11-02-00:00", end_date=end, timezone="America/New_York")
    check_folder(HOURS, hourly, name="p")
    folders = [partition_folder(key, HOURS).rpartition("/")[2] for key in hourly.get_partition_keys()]
    assert folders == ["00", "01", "01-0500", "02", "03"]
    assert key_of("2025/11/02/01-0400", HOURS, hourly) is None
    assert list(newest_folders(hourly, HOURS, 2)) == ["2025/11/02/02", "2025/11/02/03"]


@pytest.mark.parametrize(
    ("partitions", "template", "message"),
    [
        (dg.HourlyPartitionsDefinition("2025-01-01-00:00", minute_offset=30), HOURS, "begins within the hour"),
        (windows("*/15 * * * *", "%Y-%m-%d-%H:%M", "UTC"), HOURS, "says no minute"),
        (windows("0 * * * *", "%Y-%m-%d-%H:%M", "Australia/Lord_Howe"), HOURS, "set by less than an hour"),
        (windows("0 */6 * * *", "%Y-%m-%d", "UTC"), PLAIN, "finer than keys of the form '%Y-%m-%d'"),
        (windows("0 0 * * 1", "%Y-%m", "UTC"), PLAIN, "finer than keys"),
        (dg.StaticPartitionsDefinition(["a", "x" * 300]), PLAIN, "folder name of 303 bytes"),
        (dg.MultiPartitionsDefinition({"a": dg.StaticPartitionsDefinition(["x"]),
                                       "b": windows("0 */6 * * *", "%Y-%m-%d", "UTC")}), PLAIN, "dimension 'b'"),
    ],
)  # fmt: skip
def test_what_would_be_refused_later_is_refused_when_defined(
    partitions: dg.PartitionsDefinition, template: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_folder(template, partitions, name="p")
    assert "Remedy" in str(caught.value)


def test_cadences_of_all_kinds_are_accepted() -> None:
    check_folder(DAYS, dg.WeeklyPartitionsDefinition("2025-01-01"), name="p")
    check_folder(DAYS, dg.MonthlyPartitionsDefinition("2025-01-01"), name="p")
    check_folder(DAYS, dg.DailyPartitionsDefinition("2025-01-01", hour_offset=5, minute_offset=5), name="p")
    check_folder(MINUTES, dg.HourlyPartitionsDefinition("2025-01-01-00:00", minute_offset=30), name="p")
    check_folder(HOURS, windows("0 */6 * * *", "%Y-%m-%d-%H:%M", "America/New_York"), name="p")
    check_folder(PLAIN, windows("*/15 * * * *", "%Y-%m-%d-%H:%M", "Australia/Lord_Howe"), name="p")


def test_date_parts_want_partitions_of_their_kind() -> None:
    daily = build_partitions({"kind": "daily", "start": "2013-01-20"}, name="p")
    hourly = build_partitions({"kind": "hourly", "start": "2013-01-20-00:00"}, name="p")
    check_folder(DAYS, daily, name="p")
    check_folder(HOURS, hourly, name="p")
    dynamic = build_partitions({"kind": "dynamic"}, name="p")
    for template, one in ((DAYS, hourly), (HOURS, daily), (DAYS, dynamic)):
        with pytest.raises(ValueError, match=r"pipeline 'p': folder .* takes keys of the form"):
            check_folder(template, one, name="p")


def station_days(stations: dg.PartitionsDefinition) -> dg.MultiPartitionsDefinition:
    days = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-03")
    return dg.MultiPartitionsDefinition({"station": stations, "date": days})


def test_a_dynamic_dimension_takes_new_keys_and_they_are_added(instance: dg.DagsterInstance) -> None:
    both = station_days(dg.DynamicPartitionsDefinition(name="stations"))
    instance.add_dynamic_partitions("stations", ["s1"])
    folders = {"dt=2024-01-01|s1": "2024-01-01|s1", "dt=2024-01-02|s2": "2024-01-02|s2", "dt=2024-01-03|s1": None,
               "dt=s1|2024-01-01": None, "dt=2024-01-01": None, "dt=2024-01-01|": None, "dt=2024-01-01|s1|x": None,
               "dt=2024-01-01|a...b": None}  # fmt: skip
    assert {folder: key_of(folder, PLAIN, both) for folder in folders} == folders
    keys = [key for key in folders.values() if key]
    (request,) = new_keys(keys, both, instance)
    assert (request.partitions_def_name, list(request.partition_keys)) == ("stations", ["s2"])
    assert new_keys(["2024-01-01|s1"], both, instance) == []


def test_other_dimensions_know_their_keys(instance: dg.DagsterInstance) -> None:
    both = station_days(dg.StaticPartitionsDefinition(["s1"]))
    assert key_of("dt=2024-01-01|s1", PLAIN, both) == "2024-01-01|s1"
    assert key_of("dt=2024-01-01|s2", PLAIN, both) is None
    assert new_keys(["2024-01-01|s1"], both, instance) == []
    assert newest(both, 3) == []


def test_a_definition_that_fails_over_one_folder_does_not_stop_the_others() -> None:
    class Odd(dg.StaticPartitionsDefinition):
        def has_partition_key(self, partition_key: str) -> bool:
            if partition_key == "odd":
                raise RuntimeError(partition_key)
            return super().has_partition_key(partition_key)

    odd = Odd(["a", "odd"])
    assert [key_of(f"dt={key}", PLAIN, odd) for key in ("a", "odd")] == ["a", None]
