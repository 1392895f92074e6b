"""The shard sensor: new and changed folders, each version once, bounded work, a lost cursor."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from j2v_dagster.pipeline import build_prediction_pipeline

Tick = Callable[..., dg.SensorResult]


def put(root: Path, path: str, *, age_s: float = 1000.0, content: bytes = b"PAR1") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    moment = time.time() - age_s
    os.utime(file, (moment, moment))
    return file


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
    found = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(found, dg.SensorResult)
    return found


def keys(result: dg.SensorResult) -> list[str]:
    return [str(request.partition_key) for request in result.run_requests or []]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


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
    second = tick(sensor, instance, first.cursor)
    assert keys(second) == []
    assert "other" in str(second.skip_reason)
    put(tmp_path, "dt=2013-01-20/_tmp.parquet", age_s=500)  # not a shard
    assert keys(tick(sensor, instance, second.cursor)) == []
    put(tmp_path, "dt=2013-01-20/a.parquet", age_s=500, content=b"PAR1 again")  # overwritten
    put(tmp_path, "dt=2013-01-21/late.parquet", age_s=500)  # late
    third = tick(sensor, instance, second.cursor)
    assert keys(third) == ["2013-01-20", "2013-01-21"]
    run_keys = {request.run_key for result in (first, third) for request in result.run_requests or []}
    assert len(run_keys) == 4


def test_a_lost_cursor_repeats_run_keys_only(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    sensor = sensor_of(tmp_path)
    put(tmp_path, "dt=a/a.parquet")
    runs = [tick(sensor, instance, cursor).run_requests or [] for cursor in (None, "garbage", '{"format": 99}')]
    assert len({one.run_key for (one,) in runs}) == 1  # Dagster launches a run key once


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
        seen += keys(result)
        cursor = result.cursor
    assert seen == ["a", "b", "c", "d", "e"]
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
