"""Faults 20 to 23 and 31: shards, checkpoint and output lie in a bucket, and the way there is bad."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conftest as faults  # type: ignore[import-not-found]
import dagster as dg
import polars as pl
import pytest
from forkserver import ForkServerLauncher  # type: ignore[import-not-found]
from proxy import Proxy, always, once  # type: ignore[import-not-found]

import json2vec as j2v
from json2vec.storage.s3 import S3Store

pytestmark = [pytest.mark.slow, pytest.mark.faults]

ATTEMPTS = 3
READ_TIMEOUT_S = 2.0
_seeds = itertools.count(1)


class Counting(ForkServerLauncher):
    """Counts its starts."""

    starts = 0

    def submit(self, job_path: str, *, ranks: int, log_folder: str) -> str:
        self.starts += 1
        return super().submit(job_path, ranks=ranks, log_folder=log_folder)


@dataclass
class Remote(faults.Station):
    """The station of the other faults, but for its table everything in a bucket, reached through a proxy."""

    proxy: Any = None
    bucket: str = ""
    store: Any = None  # straight to the server

    def write_shards(self, seed: int, sizes: tuple[int, ...] = (150, 90, 7)) -> None:
        for entry in list(self.store.list("in")):
            self.store.delete(entry.path)
        for index, rows in enumerate(sizes):
            buffer = io.BytesIO()
            faults.records(seed * 100 + index, rows).write_parquet(buffer, row_group_size=40)
            self.store.write(f"in/dt={faults.PARTITION}/part-{index}.parquet", buffer.getvalue())

    @property
    def attempts(self) -> list[str]:  # type: ignore[override]
        """Paths in the bucket."""
        folder = f"out/dt={faults.PARTITION}/attempts"
        return [f"{folder}/{name}" for name in self.store.folders(folder)]

    def names(self, attempt: str) -> list[str]:
        return [entry.path[len(attempt) + 1 :] for entry in self.store.list(attempt)]

    def expected_ids(self) -> list[str]:
        parts = [self.store.read(entry.path) for entry in self.store.list("in")]
        return sorted(one for part in parts for one in pl.read_parquet(io.BytesIO(part))["request_id"].to_list())

    def repaired(self) -> None:
        """Without the fault the next run gives exactly the right rows."""
        self.proxy.rule = lambda method, path: "pass"
        again = self.run()
        assert again.success, again.errors
        assert [row[1] for row in self.table()] == self.expected_ids()


@pytest.fixture(scope="module")
def shared(s3: Any, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A bucket whose first version of the partition is loaded."""
    root = tmp_path_factory.mktemp("remote")
    bucket = s3.bucket("faults")
    store = S3Store(bucket, s3.options())
    store.write("model.ckpt", checkpoint.read_bytes())
    with (
        pytest.MonkeyPatch.context() as patch,
        Proxy(s3.endpoint).running() as proxy,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        for name, value in s3.environment().items():
            patch.setenv(name, value)
        patch.setenv("J2V_FAULT", str(root / "armed"))
        patch.setenv("PYTHONPATH", f"{faults.HERE}:{faults.HERE.parents[1]}")
        client = s3.public(
            endpoint_url=proxy.endpoint, connect_timeout_s=2, read_timeout_s=READ_TIMEOUT_S, max_attempts=ATTEMPTS
        )
        options = {
            "inputs": f"{bucket}/in", "output": f"{bucket}/out", "checkpoint": f"{bucket}/model.ckpt",
            "storage_options": client, "scratch": str(root / "scratch"),
        }  # fmt: skip
        made = Remote(root, checkpoint, Counting(), options, instance, proxy, bucket, store)
        made.write_shards(seed=next(_seeds))
        made.repaired()
        yield made


@pytest.fixture
def station(shared: Remote) -> Iterator[Remote]:
    """The bucket without a fault, and new shards that lie ready; what a test before has left there is no excuse."""
    options = dict(shared.options)
    shared.proxy.rule = lambda method, path: "pass"
    for counter in (shared.proxy.hurt, shared.proxy.seen, shared.proxy.sent):
        counter.clear()
    shared.write_shards(seed=next(_seeds))
    yield shared
    shared.options = options


@pytest.mark.parametrize("what", ["503", "reset", "half", "slow"])
def test_20_a_store_that_fails_once_is_asked_again(station: Remote, what: str) -> None:
    """The first request of each kind fails. (Of the slow ones, those of one shard and one rank file.)"""

    def few(method: str, path: str) -> bool:
        return path.endswith(("part-0.parquet", "rank-0.parquet"))

    station.proxy.rule = once(what, few if what == "slow" else lambda method, path: True)
    outcome = station.run()
    assert outcome.success, outcome.errors
    assert station.proxy.hurt[what] >= (3 if what == "slow" else 12)
    assert [row[1] for row in station.table()] == station.expected_ids()
    attempt = station.attempts[-1]
    assert [name for name in station.names(attempt) if "/" not in name] == [
        "_manifest.json", "_owner.json", "_rank-0.lock", "_rank-1.lock", "_verified.json", "job.json",
        "rank-0.json", "rank-0.parquet", "rank-0.segments.jsonl",
        "rank-1.json", "rank-1.parquet", "rank-1.segments.jsonl",
    ]  # fmt: skip
    assert {"logs/rank-0.log", "logs/rank-1.log"} <= set(station.names(attempt))
    options = station.options["storage_options"]
    report = j2v.verify_predictions(f"{station.bucket}/{attempt}", model=station.checkpoint, storage_options=options)
    assert report.passed, report.summary()
    rows = j2v.read_predictions(f"{station.bucket}/{attempt}", storage_options=options).collect()
    assert sorted(rows["inputs"].struct.field("request_id")) == station.expected_ids()
    left = [path for path in (station.root / "scratch").rglob("*") if path.is_file() and path.suffix == ".tmp"]
    assert left == [], "nothing half-written stays on the local disk"


@pytest.mark.parametrize(("what", "target", "blamed"), [
    ("503", "in/", "input_shards"), ("reset", "rank-1.parquet", "rank 1"), ("half", "part-1.parquet", "part-1.parquet"),
    ("slow", "_manifest.json", "_manifest.json"),
])  # fmt: skip
def test_20_a_store_that_goes_on_failing_is_a_clear_error(
    station: Remote, what: str, target: str, blamed: str
) -> None:
    before = station.table()

    def matches(method: str, path: str) -> bool:
        return target in path or (target == "in/" and path == f"/{station.bucket[5:]}")  # listings too

    station.proxy.rule = always(what, matches)
    outcome = station.run()
    assert not outcome.success
    assert blamed in outcome.errors
    assert f"{station.bucket}/" in outcome.errors, "the error names the object"
    assert "Remedy: " in outcome.errors
    assert station.table() == before
    # Bounded: the client's own attempts, and those of s3fs around them.
    assert max(count for (method, path), count in station.proxy.seen.items() if matches(method, path)) <= 60
    station.repaired()


def test_21_a_reply_that_got_lost_is_no_conflict_with_ourselves(station: Remote) -> None:
    """Every conditional write (manifest, pointer, leases) arrives, and its reply does not."""

    def conditional(method: str, path: str) -> bool:
        return method == "PUT" and path.endswith(("_manifest.json", "_current.json", ".lock"))

    station.proxy.rule = once("lost", conditional)
    outcome = station.run()
    assert outcome.success, outcome.errors
    assert station.proxy.hurt["lost"] >= 4
    assert [row[1] for row in station.table()] == station.expected_ids()
    current = json.loads(station.store.read(f"out/dt={faults.PARTITION}/_current.json"))
    assert station.attempts[-1].endswith(current["attempt"])


def test_22_a_crash_between_uploads_costs_what_was_not_sent(station: Remote) -> None:
    before = station.table()
    station.options |= {
        "postprocessor": "dying:die", "trusted_modules": ["dying"], "segment_rows": 32, "batch_size": 32,
        "require": ("files", "coverage", "inputs", "schema", "replay"),
    }  # fmt: skip
    faults.arm("die 1 2 -")  # in the writer's thread: two segments are sent by then
    died = station.run()
    assert "rank 1 was killed by signal 9" in died.errors
    assert station.table() == before
    dead = station.attempts[-1]
    assert "_manifest.json" not in station.names(dead)
    sent = {name for name in station.names(dead) if name.endswith(".parquet")}
    assert {name for name in sent if name.startswith("rank-1.")} == {"rank-1.0.parquet", "rank-1.1.parquet"}
    assert not list((station.root / "scratch").rglob("*.tmp")), "what the dead rank had on the local disk is gone"
    faults.disarm()
    station.proxy.sent.clear()
    again = station.run()
    assert again.success, again.errors
    assert [row[1] for row in station.table()] == station.expected_ids()
    attempt = station.attempts[-1]
    adopted = {name for name in station.names(attempt) if name.startswith("adopted-")}
    assert len(adopted) == len(sent)
    uploads = {path: size for (method, path), size in station.proxy.sent.items() if method == "PUT"}
    assert all(uploads[f"/{station.bucket[5:]}/{attempt}/{name}"] == 0 for name in adopted), "copied by the server"
    predicted = sum(
        json.loads(station.store.read(f"{attempt}/rank-{rank}.json"))["input_rows"] for rank in (0, 1)
    )
    assert 0 < predicted < len(station.expected_ids())


@pytest.mark.parametrize("who", ["reader", "stranger"])
def test_23_credentials_that_will_not_do_fail_before_any_rank_starts(
    station: Remote, s3: Any, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    before, starts = station.table(), station.launcher.starts
    reader = s3.reader_options()
    identity = {"key": reader["key"], "secret": reader["secret"] if who == "reader" else "a-wrong-secret"}
    if who == "reader":  # the snapshot was taken by somebody who may write
        assert station.run(only=("input_shards", "model_checkpoint")).success
    with monkeypatch.context() as patch:
        for name, value in s3.environment(identity).items():
            patch.setenv(name, value)
        outcome = station.run(only=("prediction_rank_files", "predictions")) if who == "reader" else station.run()
    assert not outcome.success
    assert "Remedy: check the credentials and what they may do" in outcome.errors
    assert "a-wrong-secret" not in outcome.errors
    assert station.launcher.starts == starts, "no rank has started"
    assert station.table() == before
    station.repaired()


def test_31_no_secret_is_written_anywhere(
    station: Remote, s3: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Sentinels: the secret that works, and one that does not. A good run, a run whose store fails, a refused one."""
    secrets = [s3.environment()["AWS_SECRET_ACCESS_KEY"], "sentinel-of-a-wrong-secret"]
    assert station.run().success
    station.proxy.rule = always("503", lambda method, path: path.endswith("rank-1.parquet"))
    assert not station.run().success
    station.proxy.rule = lambda method, path: "pass"
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", secrets[1])
        refused = station.run()
        assert not refused.success
    printed = capfd.readouterr()
    texts = {"output": printed.out + printed.err, "error": refused.errors}
    runs = station.instance.get_runs()
    assert len(runs) >= 3
    for run in runs:
        logs = station.instance.all_logs(run.run_id)
        texts[f"event log of {run.run_id}"] = "\n".join(dg.serialize_value(event) for event in logs)
    for entry in station.store.list():
        texts[f"object {entry.path}"] = station.store.read(entry.path).decode(errors="replace")
    for path in [*(station.root / "scratch").rglob("*"), station.root / "warehouse.duckdb"]:
        if path.is_file():
            texts[f"file {path}"] = path.read_bytes().decode(errors="replace")
    assert sum(name.endswith((".log", "job.json", "_manifest.json")) for name in texts) >= 12
    for where, text in texts.items():
        for secret in secrets:
            assert secret not in text, where


def test_31_credentials_in_options_are_refused(station: Remote) -> None:
    for name in ("key", "secret", "token"):
        with pytest.raises(ValueError, match=rf"storage_options holds \['{name}'\].*AWS chain") as caught:
            station.definitions(storage_options={name: "sentinel-value"})
        assert "sentinel-value" not in str(caught.value)
    with pytest.raises(ValueError, match="endpoint_url holds credentials") as caught:
        station.definitions(storage_options={"endpoint_url": "https://user:sentinel-value@host"})
    assert "sentinel-value" not in str(caught.value)
