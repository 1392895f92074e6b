"""Faults of partitions: ranges that hold none, hours that come twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from j2v_dagster.pipeline import build_prediction_pipeline

HOURS = {"kind": "hourly", "start": "2025-11-02-00:00", "end": "2025-11-02-04:00", "timezone": "America/New_York"}


def pipeline(root: Path, **options: Any) -> dg.Definitions:
    return build_prediction_pipeline(
        name="shop", inputs=str(root / "in"), checkpoint="m.ckpt", output=str(root / "out"),
        warehouse=str(root / "w.duckdb"), table="t", columns={"id": "inputs.id"}, sensor_min_age_s=0, **options,
    )  # fmt: skip


@pytest.mark.parametrize(("first", "last"), [("2024-01-03", "2024-01-01"), ("2024-01-02", "2023-01-01")])
def test_36_a_run_over_no_partition_is_no_success(tmp_path: Path, first: str, last: str) -> None:
    days = {"kind": "daily", "start": "2024-01-01", "end": "2024-01-04"}
    job = pipeline(tmp_path, partitions=days, backfill="single_run").resolve_job_def("shop_predict")
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(
            instance=instance, raise_on_error=False, tags=tags, asset_selection=[dg.AssetKey(["shop", "input_shards"])]
        )
    assert not done.success
    said = [str(event.event_specific_data.error) for event in done.all_events if event.is_step_failure]  # type: ignore[union-attr]
    assert any(f"its range is from '{first}' to '{last}'; expected one partition or more" in text for text in said)


def test_37_the_hour_that_comes_twice_stops_no_tick(tmp_path: Path) -> None:
    for hour in ("00", "01", "01-0500", "02", "odd"):
        (tmp_path / "in/2025/11/02" / hour).mkdir(parents=True)
        (tmp_path / "in/2025/11/02" / hour / "a.parquet").write_bytes(b"PAR1")
    sensor = pipeline(tmp_path, partitions=HOURS, folder="{partition:%Y/%m/%d/%H}").resolve_sensor_def("shop_shards")
    with dg.DagsterInstance.ephemeral() as instance:
        found = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(found, dg.SensorResult)
    asked = sorted(str(request.partition_key) for request in found.run_requests or [])
    assert asked == [f"2025-11-02-{hour}" for hour in ("00:00", "01:00", "01:00-0500", "02:00")]
