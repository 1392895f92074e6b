"""The shard sensor, tick by tick: new and changed folders, each version once, bounded work, a lost cursor."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import create_run_for_test
from shard_files import put

from j2v_dagster.pipeline import build_prediction_pipeline
from j2v_dagster.shards.source import ShardSource, list_folders, write_inputs
from json2vec.storage.local import LocalStore


def sensor_of(root: Path, **options: Any) -> dg.SensorDefinition:
    settings: dict[str, Any] = {"partitions": {"kind": "dynamic"}, "sensor_min_age_s": 60.0} | options
    defs = build_prediction_pipeline(
        name="flights", inputs=str(root), checkpoint="m.ckpt", output=str(root / "out"), warehouse="w.duckdb",
        table="t", columns={"id": "inputs.id"}, **settings,
    )  # fmt: skip
    (sensor,) = list(defs.sensors or ())
    assert isinstance(sensor, dg.SensorDefinition)
    return sensor


def tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    found = sensor(dg.build_sensor_context(instance=instance, cursor=cursor, sensor_name=sensor.name))
    assert isinstance(found, dg.SensorResult)
    return found


def launch(instance: dg.DagsterInstance, result: dg.SensorResult, sensor: str = "flights_shards") -> list[str]:
    """What the daemon does with a tick's requests: add keys, make a run for each run key it has not served yet."""
    for added in result.dynamic_partitions_requests or []:
        instance.add_dynamic_partitions(added.partitions_def_name, list(added.partition_keys))
    launched = []
    for request in result.run_requests or []:
        tags = {**request.tags, "dagster/run_key": str(request.run_key), "dagster/sensor_name": sensor}
        if not instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": str(request.run_key)})):
            create_run_for_test(instance, job_name="flights_predict", tags=tags, status=dg.DagsterRunStatus.STARTED)
            launched.append(str(request.partition_key))
    return launched


def keys(result: dg.SensorResult) -> list[str]:
    return [str(request.partition_key) for request in result.run_requests or []]


def test_new_and_changed_folders_are_requested_once(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    sensor = sensor_of(tmp_path)
    put(tmp_path, "dt=2013-01-20/a.parquet")
    put(tmp_path, "dt=2013-01-20/_tmp.parquet")
    put(tmp_path, "dt=2013-01-21/b.parquet")
    put(tmp_path, "other/c.parquet")
    put(tmp_path, "dt=%2e%2e/c.parquet")
    first = tick(sensor, instance, None)
    assert keys(first) == ["2013-01-20", "2013-01-21"]
    added = (first.dynamic_partitions_requests or [])[0]
    assert list(added.partition_keys) == ["2013-01-20", "2013-01-21"]
    assert launch(instance, first) == ["2013-01-20", "2013-01-21"]
    second = tick(sensor, instance, first.cursor)
    assert keys(second) == []
    assert "other" in str(second.skip_reason)
    put(tmp_path, "dt=2013-01-20/_tmp.parquet", age_s=500)  # not a shard
    assert keys(tick(sensor, instance, second.cursor)) == []
    put(tmp_path, "dt=2013-01-20/a.parquet", age_s=500, content=b"PAR1 again")  # overwritten
    put(tmp_path, "dt=2013-01-21/late.parquet", age_s=500)  # late
    third = tick(sensor, instance, second.cursor)
    assert keys(third) == ["2013-01-20", "2013-01-21"]
    assert not third.dynamic_partitions_requests, "the keys are there"
    assert launch(instance, third) == ["2013-01-20", "2013-01-21"]
    assert keys(tick(sensor, instance, third.cursor)) == []
    run_keys = {request.run_key for result in (first, third) for request in result.run_requests or []}
    assert len(run_keys) == 4


def test_a_lost_cursor_repeats_run_keys_only(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    sensor = sensor_of(tmp_path)
    put(tmp_path, "dt=a/a.parquet")
    runs = [tick(sensor, instance, cursor).run_requests or [] for cursor in (None, "garbage", '{"format": 99}')]
    assert len({one.run_key for (one,) in runs}) == 1  # Dagster launches a run key once
    launch(instance, tick(sensor, instance, None))
    for cursor in (None, "garbage", '{"format": 99}', '{"format": 2, "after": "", "seen": "~", "fresh": 1}', "[]"):
        assert keys(tick(sensor, instance, cursor)) == []


def test_a_young_folder_waits_for_its_age(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    sensor = sensor_of(tmp_path)
    put(tmp_path, "dt=a/old.parquet")
    young = put(tmp_path, "dt=a/young.parquet", age_s=5)
    first = tick(sensor, instance, None)
    assert keys(first) == []
    moment = time.time() - 100
    os.utime(young, (moment, moment))
    assert keys(tick(sensor, instance, first.cursor)) == ["a"]


def test_a_marker_file_decides_instead_of_the_age(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    sensor = sensor_of(tmp_path, sensor_marker="_SUCCESS")
    put(tmp_path, "dt=a/a.parquet", age_s=0)
    first = tick(sensor, instance, None)
    assert keys(first) == []
    put(tmp_path, "dt=a/_SUCCESS", age_s=0, content=b"")
    assert keys(tick(sensor, instance, first.cursor)) == ["a"]


def test_a_tick_is_bounded_and_the_next_goes_on(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    sensor = sensor_of(tmp_path, sensor_max_partitions=2)
    for name in "abcde":
        put(tmp_path, f"dt={name}/x.parquet")
    cursor, seen = None, []
    for _ in range(3):
        result = tick(sensor, instance, cursor)
        assert len(keys(result)) <= 2
        seen += launch(instance, result)
        cursor = result.cursor
    assert seen == ["a", "b", "c", "d", "e"]
    cursor = tick(sensor, instance, cursor).cursor
    put(tmp_path, "dt=a/y.parquet")  # behind the place where the last scan began
    assert keys(tick(sensor, instance, cursor)) == ["a"]


def test_time_windows_take_existing_keys_only(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    window = {"kind": "daily", "start": "2013-01-20", "end": "2013-01-22"}
    sensor = sensor_of(tmp_path, partitions=window)
    for day in ("19", "20", "21", "22"):
        put(tmp_path, f"dt=2013-01-{day}/x.parquet")
    result = tick(sensor, instance, None)
    assert keys(result) == ["2013-01-20", "2013-01-21"]
    assert not result.dynamic_partitions_requests


def test_a_missing_root_is_said_and_the_cursor_kept(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    result = tick(sensor_of(tmp_path / "absent"), instance, "kept")
    assert "absent" in str(result.skip_reason)
    assert result.cursor == "kept"


def test_the_sensor_is_off_until_switched_on(tmp_path: Path) -> None:
    assert sensor_of(tmp_path).default_status == dg.DefaultSensorStatus.STOPPED


def test_it_runs_from_the_start_if_told(tmp_path: Path) -> None:
    assert sensor_of(tmp_path, sensor_status="running").default_status == dg.DefaultSensorStatus.RUNNING


def test_a_version_is_asked_for_until_its_run_is_there(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """A daemon that dies between a tick and its runs loses nothing, though the cursor was kept."""
    sensor = sensor_of(tmp_path)
    put(tmp_path, "dt=a/a.parquet")
    first = tick(sensor, instance, None)
    second = tick(sensor, instance, first.cursor)
    assert keys(first) == keys(second) == ["a"]
    (request,) = second.run_requests or []
    made = {"dagster/run_key": str(request.run_key), "dagster/sensor_name": "flights_shards"}
    create_run_for_test(instance, tags=made, status=dg.DagsterRunStatus.NOT_STARTED)  # made, but never launched
    assert keys(tick(sensor, instance, second.cursor)) == ["a"]
    create_run_for_test(instance, tags=made | {"dagster/sensor_name": "other"}, status=dg.DagsterRunStatus.SUCCESS)
    assert keys(tick(sensor, instance, second.cursor)) == ["a"], "another sensor's run"
    create_run_for_test(instance, tags=made, status=dg.DagsterRunStatus.STARTED)
    assert keys(tick(sensor, instance, second.cursor)) == []


def test_a_failed_run_is_not_repeated_but_a_new_version_is_asked_for(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    sensor = sensor_of(tmp_path)
    put(tmp_path, "dt=a/a.parquet")
    result = tick(sensor, instance, None)
    launch(instance, result)
    (run,) = instance.get_runs()
    instance.report_run_failed(run)
    for cursor in (result.cursor, None):
        assert keys(tick(sensor, instance, cursor)) == []
    put(tmp_path, "dt=a/a.parquet", age_s=500)
    assert keys(tick(sensor, instance, result.cursor)) == ["a"]


def test_a_version_that_the_table_shows_needs_no_run(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Somebody materialized it by hand before the sensor was switched on, or old runs were removed since."""
    put(tmp_path, "dt=a/a.parquet")
    put(tmp_path, "dt=b/a.parquet")
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "dt=a" / "a.parquet")
    os.utime(tmp_path / "dt=a" / "a.parquet", (1e9, 1e9))
    snapshot = ShardSource(inputs=str(tmp_path)).snapshot("a")
    output = LocalStore(tmp_path / "out" / "dt=a")
    write_inputs(output, snapshot)
    sensor = sensor_of(tmp_path, sensor_min_age_s=0)
    assert keys(tick(sensor, instance, None)) == ["a", "b"], "frozen, but not loaded"
    output.write("attempts/x/_manifest.json", json.dumps({"snapshot": snapshot.to_json()}).encode())
    output.write("_current.json", b'{"attempt": "x"}')
    assert keys(tick(sensor, instance, None)) == ["b"]
    os.utime(tmp_path / "dt=a" / "a.parquet", (1e9 + 1, 1e9 + 1))
    assert keys(tick(sensor, instance, None)) == ["a", "b"]


def test_a_shard_newer_than_the_marker_waits_for_its_age(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    sensor = sensor_of(tmp_path, sensor_marker="_SUCCESS")
    put(tmp_path, "dt=a/a.parquet", age_s=20)
    put(tmp_path, "dt=a/_SUCCESS", age_s=30, content=b"")
    assert keys(tick(sensor, instance, None)) == []
    put(tmp_path, "dt=a/a.parquet", age_s=70)
    assert keys(tick(sensor, instance, None)) == ["a"], "rested, and marked"
    put(tmp_path, "dt=a/a.parquet", age_s=20)
    put(tmp_path, "dt=a/_SUCCESS", age_s=10, content=b"")
    assert keys(tick(sensor, instance, None)) == ["a"], "marked again"


def test_a_tick_lists_no_more_than_it_may_and_cuts_no_folder(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    sensor = sensor_of(tmp_path, sensor_max_keys=10)
    for name in "abcdefgh":
        for number in range(4):
            put(tmp_path, f"dt={name}/{number}.parquet")
    cursor, listed, ticks = None, [], 0
    while len(listed) < 8:
        result = tick(sensor, instance, cursor)
        listed += launch(instance, result)
        assert len(keys(result)) <= 3  # 12 files: the third folder was read to its end
        cursor, ticks = result.cursor, ticks + 1
        assert ticks <= 8
    assert listed == list("abcdefgh")
    whole = list_folders(ShardSource(str(tmp_path)), LocalStore(tmp_path))
    assert {run.tags["dagster/run_key"] for run in instance.get_runs()} == {
        f"{folder.name[3:]}:{folder.version}" for folder in whole
    }
    late = put(tmp_path, "dt=b/late.parquet")
    found = []
    for _ in range(4):  # one round
        result = tick(sensor, instance, cursor)
        found, cursor = found + keys(result), result.cursor
        launch(instance, result)
    assert found == ["b"]
    late.unlink()


def test_folders_whose_names_begin_alike_are_all_seen(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Paths sort "dt=a-b/" before "dt=a/"; a round that went on by names would skip one of them."""
    sensor = sensor_of(tmp_path, sensor_max_keys=1)
    names = ["a", "a-b", "a!", "ab", "a0", "ü", "a ", "A"]
    for name in names:
        put(tmp_path, f"dt={name}/x.parquet")
    put(tmp_path, "stray.parquet")
    cursor, seen = None, []
    for _ in range(12):
        result = tick(sensor, instance, cursor)
        seen += launch(instance, result)
        cursor = result.cursor
    assert sorted(seen) == sorted(names)


def test_new_days_are_seen_at_once_in_the_middle_of_a_round(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    window = {"kind": "daily", "start": "2013-01-01", "end": "2013-03-01"}
    sensor = sensor_of(tmp_path, partitions=window, sensor_max_keys=4, sensor_recent=2)
    for day in range(1, 11):
        put(tmp_path, f"dt=2013-01-{day:02}/x.parquet")
    first = tick(sensor, instance, None)
    launch(instance, first)
    put(tmp_path, "dt=2013-02-28/x.parquet")
    put(tmp_path, "dt=2013-02-26/x.parquet")  # not among the two newest: its turn comes
    second = tick(sensor, instance, first.cursor)
    assert keys(second)[0] == "2013-02-28"
    assert "2013-02-26" not in keys(second)
    seen, cursor = launch(instance, second), second.cursor
    for _ in range(6):
        result = tick(sensor, instance, cursor)
        seen, cursor = seen + launch(instance, result), result.cursor
    assert seen.count("2013-02-28") == seen.count("2013-02-26") == 1
    assert len(instance.get_runs()) == 12


def test_keys_that_dagster_refuses_do_not_stop_the_others(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    for name in ("dt=a...b", "dt=c%0Ad", "dt=good"):
        put(tmp_path, f"{name}/x.parquet")
    result = tick(sensor_of(tmp_path), instance, None)
    assert launch(instance, result) == ["good"]
    assert "a...b" in str(tick(sensor_of(tmp_path), instance, result.cursor).skip_reason)


def test_input_shards_alone_can_be_the_target(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    put(tmp_path, "dt=a/x.parquet")
    (request,) = tick(sensor_of(tmp_path, sensor_target="input_shards"), instance, None).run_requests or []
    assert list(request.asset_selection or []) == [dg.AssetKey(["flights", "input_shards"])]


@pytest.mark.parametrize(
    "option", [{"sensor_target": "x"}, {"sensor_status": "on"}, {"sensor_max_keys": 0}, {"sensor_recent": -1}]
)
def test_options_that_cannot_be_meant_are_refused(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        sensor_of(tmp_path, **option)


@pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")  # Dagster's own tags
def test_a_dynamic_dimension_gets_the_keys_that_its_folders_have(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    both = dg.MultiPartitionsDefinition({
        "date": dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-03"),
        "station": dg.DynamicPartitionsDefinition(name="stations"),
    })  # fmt: skip
    defs = build_prediction_pipeline(
        name="flights", inputs=str(tmp_path), checkpoint="m.ckpt", output=str(tmp_path / "out"), warehouse="w.duckdb",
        table="t", columns={"id": "inputs.id"}, partitions=both,
    )  # fmt: skip
    instance.add_dynamic_partitions("stations", ["s1"])
    for name in ("2024-01-01|s1", "2024-01-01|s2", "2024-02-30|s3", "s4"):
        put(tmp_path, f"dt={name}/x.parquet")
    found = tick(defs.resolve_sensor_def("flights_shards"), instance, None)
    assert keys(found) == ["2024-01-01|s1", "2024-01-01|s2"]
    (added,) = found.dynamic_partitions_requests or []
    assert list(added.partition_keys) == ["s2"]
    job = defs.resolve_job_def("flights_predict")
    for request in found.run_requests or []:  # as the daemon does, which refuses a tick with a key that is not there
        tags = request.with_resolved_tags_and_config(job, [added], instance).tags
        assert tags["dagster/partition/date"] == "2024-01-01"
    assert not tick(defs.resolve_sensor_def("flights_shards"), instance, None).skip_reason


@pytest.mark.parametrize("end", ["02:00", "03:00", "04:00", "09:00"])
def test_the_hour_that_comes_twice_does_not_stop_a_tick(tmp_path: Path, instance: dg.DagsterInstance, end: str) -> None:
    hours = {"kind": "hourly", "start": "2025-11-02-00:00", "end": f"2025-11-02-{end}", "timezone": "America/New_York"}
    sensor = sensor_of(tmp_path, partitions=hours, folder="{partition:%Y/%m/%d/%H}")
    for name in ("00", "01", "01-0500", "01-0400", "1x"):
        put(tmp_path, f"2025/11/02/{name}/x.parquet")
    expected = ["2025-11-02-00:00", "2025-11-02-01:00", "2025-11-02-01:00-0500"]
    assert sorted(keys(tick(sensor, instance, None))) == expected


def test_a_damaged_pointer_of_one_partition_does_not_stop_a_tick(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    sensor = sensor_of(tmp_path / "in")
    for name in "ab":
        put(tmp_path / "in", f"dt={name}/x.parquet")
    for text in ("", "{", "[]", "{}", '{"schema": "", "files": 3}'):
        (tmp_path / "in" / "out" / "dt=a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "out" / "dt=a" / "_inputs.json").write_text(text)
        assert keys(tick(sensor, instance, None)) == ["a", "b"]
