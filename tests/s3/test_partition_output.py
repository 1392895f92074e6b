"""A partition's output in a bucket: leases, the pointer, and cleaning up, on a real S3 server."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from j2v_dagster.attempts.clean import clean
from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.attempts.locks import LeaseLost, PartitionBusy, PartitionLock, partition_lock
from json2vec.errors import StoreError
from json2vec.storage import lease
from json2vec.storage.lease import Lease
from json2vec.storage.opening import open_store

pytestmark = pytest.mark.slow
_names = itertools.count()


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    return s3.bucket("partition-output")


@pytest.fixture
def output(s3: Any, bucket: str, tmp_path: Path) -> PartitionOutput:
    return PartitionOutput.of(f"{bucket}/{next(_names)}", "d1", "dt={partition}", s3.options(), tmp_path)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 2.0)
    monkeypatch.setattr(lease, "RENEW_S", 0.3)
    monkeypatch.setattr(lease, "POLL_S", 0.1)


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("short")
def test_25_a_lease_names_its_living_holder_and_is_free_when_let_go(output: PartitionOutput) -> None:
    with partition_lock(output.store, "run one") as held:
        assert held is not None
        with pytest.raises(PartitionBusy, match=r"run one \(process \d+ on .*run two.*changed nothing"):
            partition_lock(output.store, "run two", wait_s=0.0).__enter__()
        with partition_lock(output.store, "run three", "load"):
            pass  # predicting does not wait for loading
        held.check()
    with partition_lock(output.store, "run two", wait_s=0.0) as second:
        assert second is not None
        assert json.loads(output.store.read("_predict.lock"))["holder"] == "run two"
    assert json.loads(output.store.read("_predict.lock"))["released"] is True


@pytest.mark.usefixtures("short")
def test_25_the_lease_of_a_dead_run_is_taken_over_and_a_paused_one_notices(output: PartitionOutput) -> None:
    paused = Lease(output.store, "_predict.lock", {"holder": "run one"})
    paused.acquire(0.0)
    paused._stop.set()  # as if its process stood still
    assert paused._thread is not None
    paused._thread.join()
    with partition_lock(output.store, "run two", wait_s=0.0) as second:
        assert second is not None
        paused._stop.clear()
        paused._thread = threading.Thread(target=paused._renew)
        paused._thread.start()
        wait_for(lambda: paused._lost)
        with pytest.raises(LeaseLost, match=r"run one lost its lease s3://.*/_predict\.lock.*publishes nothing"):
            PartitionLock(paused, "run one").check()
        paused.release()  # lets go of nothing that is not its own
        second.check()
        assert json.loads(output.store.read("_predict.lock"))["holder"] == "run two"


def test_the_pointer_moves_over_the_version_that_was_seen_only(output: PartitionOutput) -> None:
    first, second, third = (output.create(f"run{number}abcd") for number in range(3))
    assert output.current() is None
    seen = output.current_version()
    assert seen is None
    output.publish(first, "digest", expected_version=seen)
    with pytest.raises(StoreError, match=r"_current\.json was moved by another run while attempt .* Remedy"):
        output.publish(second, "digest", expected_version=seen)
    version = output.current_version()
    output.publish(second, "digest", expected_version=version)
    with pytest.raises(StoreError, match="moved by another run"):
        output.publish(third, "digest", expected_version=version)
    assert (output.current() or {})["attempt"] == second.name


def test_old_attempts_go_from_the_bucket_and_the_current_one_stays(
    s3: Any, output: PartitionOutput, tmp_path: Path
) -> None:
    old, failed, current = (output.create(f"run{number}abcd") for number in range(3))
    for attempt in (old, failed, current):
        attempt.write_job("{}")
        attempt.store.write("rank-0.parquet", bytes(1000))
        attempt.log_folder.mkdir()
        (attempt.log_folder / "rank-0.log").write_text("hello")
        attempt.tidy()
        assert attempt.store.read("logs/rank-0.log") == b"hello"
    for attempt in (old, current):
        attempt.store.write("_manifest.json", b"{}")
    output.publish(current, "digest")
    root = str(output.root).rpartition("/")[0]
    assert clean(root, older_than_days=1, storage_options=s3.options()).removed == ()
    tried = clean(root, older_than_days=0, pending_days=0, dry_run=True, storage_options=s3.options())
    assert [attempt.name for attempt in output.attempts()] == [old.name, failed.name, current.name]
    report = clean(root, older_than_days=0, pending_days=0, storage_options=s3.options())
    assert [one.path for one in report.removed] == [one.path for one in tried.removed] == [old.uri, failed.uri]
    assert report.bytes == 2 * (1000 + 2 + 5) + 2
    # (The test's server keeps empty folders; in S3 there are none.)
    assert [attempt.name for attempt in output.attempts() if list(attempt.store.list())] == [current.name]
    with partition_lock(output.store, "run abc"):
        held = clean(root, older_than_days=0, pending_days=0, storage_options=s3.options())
        assert held.removed == ()
        assert "run abc" in held.summary()


def test_the_logs_of_old_backfills_go_from_the_bucket(s3: Any, bucket: str) -> None:
    root = f"{bucket}/{next(_names)}"
    store = open_store(root, s3.options())
    for name in ("job.json", "logs/rank-0.log"):
        store.write(f"_launches/run-1/{name}", bytes(10))
    assert clean(root, older_than_days=1, storage_options=s3.options()).removed == ()
    (removed,) = clean(root, older_than_days=0, pending_days=0, storage_options=s3.options()).removed
    assert (removed.path, removed.bytes) == (f"{root}/_launches/run-1", 20)
    assert list(store.list()) == []
