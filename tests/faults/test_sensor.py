"""Fault 24: the sensor against a real S3 server, and the whole way through a real daemon into the table."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import conftest as faults  # type: ignore[import-not-found]
import dagster as dg
import duckdb
import psutil
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._core.test_utils import create_run_for_test

import j2v_dagster
from j2v_dagster.pipeline import build_prediction_pipeline
from j2v_dagster.shards.partitions import partition_of
from j2v_dagster.shards.scanning import Cursor
from j2v_dagster.shards.source import ShardSource, list_folders
from json2vec.storage.local import LocalStore
from json2vec.storage.s3 import S3Store
from json2vec.storage.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture(autouse=True)
def _credentials(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)


class Bucket:
    """A root of partitions on the server, and a sensor that watches it."""

    def __init__(self, s3: Any, name: str, instance: dg.DagsterInstance, **options: Any) -> None:
        self.root = s3.bucket(name) + "/in"
        self.store = S3Store(self.root, s3.options())
        self.source = ShardSource(self.root, storage_options=s3.options())
        self.instance = instance
        self.cursor: str | None = None
        settings = {"sensor_min_age_s": 0.0, "sensor_max_keys": 7, "sensor_max_partitions": 3} | options
        defs = build_prediction_pipeline(
            name="flights", inputs=self.root, checkpoint="m.ckpt", output="out", warehouse="w.duckdb", table="t",
            columns={"id": "inputs.id"}, partitions={"kind": "dynamic"}, storage_options=s3.public(), **settings,
        )  # fmt: skip
        (sensor,) = list(defs.sensors or ())
        assert isinstance(sensor, dg.SensorDefinition)
        self.sensor = sensor

    def tick(self, *, dies: bool = False) -> list[str]:
        """One tick, and what the daemon makes of it: a run for each run key that has none. If the daemon dies, it has
        launched the first run only, and the cursor is kept or lost."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, sensor_name=self.sensor.name)
        result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        for added in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(added.partitions_def_name, list(added.partition_keys))
        launched = []
        for request in result.run_requests or []:
            key = str(request.run_key)
            if not self.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": key})):
                tags = {"dagster/run_key": key, "dagster/sensor_name": self.sensor.name}
                create_run_for_test(self.instance, tags=tags, status=dg.DagsterRunStatus.STARTED)
                launched.append(key)
                if dies:
                    break
        self.cursor = result.cursor
        return launched

    def settle(self) -> list[str]:
        """Tick for two whole rounds; the run keys that were launched."""
        launched: list[str] = []
        rounds = 0
        while rounds < 2:
            launched += self.tick()
            rounds += Cursor.parse(self.cursor).after == ""
        return launched

    def versions(self) -> set[str]:
        """The run key of every folder as it is now."""
        listed = list_folders(self.source, self.store)
        return {f"{partition_of(one.name)}:{one.version}" for one in listed if one.shards}


@pytest.fixture
def credentials(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, as a pipeline wants them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.options()["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.options()["secret"])


@pytest.mark.usefixtures("credentials")
def test_24_every_version_of_every_shard_is_asked_for_exactly_once(s3: Any) -> None:
    """New, late, overwritten and restored shards, two in one second, on a server with several of them in one folder;
    between them the cursor is lost, the daemon dies, a run fails, and ticks see a part of the folders only."""
    chance = random.Random(24)
    with dg.DagsterInstance.ephemeral() as instance:
        bucket = Bucket(s3, "sensor-24", instance)
        keys = ["a", "a-b", "a!", "b", "ü #", "%2F"]
        folders = [f"dt={key}" for key in keys if key != "%2F"] + ["dt=%252F"]
        expected: Counter[str] = Counter()
        launched: Counter[str] = Counter()
        content: dict[str, list[bytes]] = {}

        def put(folder: str, name: str, data: bytes) -> None:
            bucket.store.write(f"{folder}/{name}", data)
            content.setdefault(f"{folder}/{name}", []).append(data)

        for folder in folders:
            put(folder, "0.parquet", b"first")
            put(folder, "1.parquet", b"first")  # within the same second as the one before
        kinds = ["late", "overwritten", "equal size", "restored", "removed", "two in one second"]
        for step in range(2 * len(kinds) + 1):
            expected.update(bucket.versions() - set(expected))
            dies = chance.random() < 0.4
            launched.update(bucket.tick(dies=dies))
            if dies or chance.random() < 0.4:
                bucket.cursor = chance.choice([None, "", "garbage", bucket.cursor])
            launched.update(bucket.settle())
            assert launched == expected, f"step {step}"
            if chance.random() < 0.5:
                run = instance.get_runs(limit=1)[0]
                instance.report_run_failed(run)
            folder = chance.choice(folders)
            kind = kinds[step % len(kinds)]
            if kind == "late":
                put(folder, f"late-{step}.parquet", b"late")
            elif kind == "overwritten":
                put(folder, "0.parquet", f"overwritten {step}".encode())
            elif kind == "equal size":
                put(folder, "0.parquet", f"{step:05}".encode())
            elif kind == "restored":  # the ETag is that of an earlier version again
                time.sleep(1.1)  # S3 dates objects to the second
                put(folder, "0.parquet", content[f"{folder}/0.parquet"][0])
            elif kind == "removed":
                put(folder, "extra.parquet", b"extra")
                bucket.store.delete(f"{folder}/extra.parquet")
                put(folder, "0.parquet", f"after {step}".encode())
            else:
                put(folder, f"x-{step}.parquet", b"x")
                put(folder, f"y-{step}.parquet", b"y")
        assert set(launched.values()) == {1}
        assert len(launched) > len(folders) + 8
        assert set(instance.get_dynamic_partitions("flights")) == {*keys[:-1], "%2F"}


@pytest.mark.usefixtures("credentials")
def test_24_the_servers_clock_decides_how_old_a_shard_is(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this host's clock is ahead no shard is taken too early, and where it is behind none waits for hours."""
    clock = time.time
    with dg.DagsterInstance.ephemeral() as instance:
        patient, eager = (
            Bucket(s3, f"sensor-clock-{age:.0f}", instance, sensor_min_age_s=age) for age in (3600.0, 1.0)
        )
        for bucket in (patient, eager):
            bucket.store.write("dt=a/x.parquet", b"x")
        monkeypatch.setattr("time.time", lambda: clock() + 7200)
        assert patient.tick() == []
        monkeypatch.setattr("time.time", lambda: clock() - 7200)
        launched: list[str] = []
        deadline = time.monotonic() + 60
        while not launched:
            assert time.monotonic() < deadline
            launched = eager.tick()
        assert set(launched) == eager.versions()


class Home:
    """A DAGSTER_HOME with the project's own dagster.yaml, and a real daemon over a YAML file of pipelines."""

    def __init__(self, folder: Path, pipelines: list[dict[str, Any]], environment: dict[str, str]) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "dagster.yaml").write_text((Path(j2v_dagster.__file__).parent / "dagster.yaml").read_text())
        (folder / "pipelines.yaml").write_text(yaml.safe_dump({"pipelines": pipelines}))
        repository = str(Path(j2v_dagster.__file__).parents[1])
        path = os.pathsep.join(filter(None, [repository, os.environ.get("PYTHONPATH", "")]))
        own = {"DAGSTER_HOME": str(folder), "J2V_DEFS": str(folder / "pipelines.yaml"), "PYTHONPATH": path}
        self.environment = os.environ | own | {"OMP_NUM_THREADS": "1"} | environment

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """Runs until the block ends, and everything that it started with it."""
        with open(self.folder / "daemon.log", "ab") as log:
            process = subprocess.Popen(
                [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-m", "j2v_dagster.definitions"],
                env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        below: list[psutil.Process] = []
        try:
            yield process
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                below = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)
            _, alive = psutil.wait_procs(below, timeout=30)
            for one in alive:
                one.kill()

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text(errors="replace")[-6000:]


def wait_for(condition: Callable[[], bool], home: Home, daemon: subprocess.Popen[bytes], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert daemon.poll() is None, home.log()
        assert time.monotonic() < deadline, home.log()
        time.sleep(1)


def test_24_a_real_daemon_fills_the_table_and_follows_an_overwritten_shard(
    tmp_path: Path, checkpoint: Path, s3: Any
) -> None:
    """Files put into a folder and into a bucket come out as rows of a table, with nothing in between but the daemon;
    it is stopped and loses the sensors' cursors on the way."""
    bucket = s3.bucket("sensor-daemon") + "/in"
    stores: dict[str, Store] = {"local": LocalStore(tmp_path / "in"), "remote": S3Store(bucket, s3.options())}
    (tmp_path / "in").mkdir()
    pipelines = [
        {
            "name": name, "inputs": store.root, "partitions": {"kind": "dynamic"}, "checkpoint": str(checkpoint),
            "output": str(tmp_path / name), "warehouse": str(tmp_path / f"{name}.duckdb"), "table": "scores",
            "columns": {"request_id": "inputs.request_id", "label": 'predictions["record/label"].content.value'},
            "threads": 1, "min_free_bytes": 0, "replay_sample": 8, "sensor_min_age_s": 1.0, "sensor_interval_s": 1,
            "sensor_status": "running",
        }
        for name, store in stores.items()
    ]  # fmt: skip
    credentials = s3.options()
    home = Home(tmp_path / "home", pipelines, {
        "AWS_ACCESS_KEY_ID": credentials["key"], "AWS_SECRET_ACCESS_KEY": credentials["secret"],
        "AWS_ENDPOINT_URL": credentials["endpoint_url"], "AWS_REGION": credentials["region"],
    })  # fmt: skip

    def put(seed: int) -> set[str]:
        rows = faults.records(seed, 40)
        buffer = io.BytesIO()
        rows.write_parquet(buffer)
        for store in stores.values():
            store.write("dt=2024-05-01/part-0.parquet", buffer.getvalue())
        return set(rows["request_id"])

    def table(name: str) -> set[str]:
        try:
            with duckdb.connect(str(tmp_path / f"{name}.duckdb"), read_only=True) as connection:
                rows = connection.execute("select request_id from scores where partition = '2024-05-01'").fetchall()
        except duckdb.Error:  # not there yet, or a run is writing
            return set()
        return {row[0] for row in rows}

    def done(rows: set[str], runs: int) -> bool:
        """Both tables hold exactly these rows, and as many runs of each pipeline have succeeded."""
        return all(table(name) == rows for name in stores) and ran() == {
            (f"{name}_predict", "SUCCESS"): runs for name in stores
        }

    def ran() -> Counter[tuple[str, str]]:
        with dg.DagsterInstance.from_config(str(home.folder)) as instance:
            return Counter((run.job_name, str(run.status.value)) for run in instance.get_runs())

    first = put(1)
    with home.daemon() as daemon:
        wait_for(lambda: done(first, 1), home, daemon)
    with dg.DagsterInstance.from_config(str(home.folder)) as instance:
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
            if state.instigator_name.endswith("_shards"):
                data = state.instigator_data
                assert isinstance(data, SensorInstigatorData)
                assert Cursor.parse(data.cursor).known, "Dagster knew the run, and the sensor saw that"
                instance.update_instigator_state(state.with_data(data._replace(cursor=None)))
    second = put(2)
    assert not first & second
    with home.daemon() as daemon:
        wait_for(lambda: done(second, 2), home, daemon)
    assert sum(ran().values()) == 4, "each version of each shard was predicted once"
