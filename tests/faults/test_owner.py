"""Faults 33 to 35: two pipelines below one output, a loader that stood still, a machine whose clock is ahead."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from j2v_dagster import assets
from j2v_dagster.attempts import folder as folders
from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.attempts.locks import PartitionLock
from j2v_dagster.attempts.owner import OWNER, OWNERS, adopt
from json2vec.storage import lease
from json2vec.storage.local import LocalStore

pytestmark = [pytest.mark.slow, pytest.mark.faults]

LOAD = ("predictions",)
PREDICT = ("input_shards", "prediction_rank_files")


def output(station: Any) -> PartitionOutput:
    return PartitionOutput.of(station.root / "output", "2024-05-01", "dt={partition}")


def ids(station: Any) -> list[str]:
    return [row[1] for row in station.table()]


def test_33_the_output_of_another_pipeline_is_refused_before_anything_is_written(station: Any) -> None:
    """Another table, and so another pipeline, with the same name, inputs, model and output under another spelling."""
    (station.root / "elsewhere").symlink_to(station.root / "output")
    before, attempts = station.table(), len(station.attempts)
    intruder = {"table": "another", "output": str(station.root / "elsewhere")}
    for only in ((), ("prediction_rank_files",), LOAD):
        refused = station.run(only=only, **intruder)
        assert not refused.success
        assert "NotTheOwner" in refused.errors
        assert "belongs to pipeline 'faults'" in refused.errors
        assert "j2v-dagster adopt" in refused.errors
    assert (station.table(), len(station.attempts)) == (before, attempts)
    assert station.run().success, "the owner goes on"
    adopt(station.root / "output", "faults")
    handed = station.run(**intruder)
    assert handed.success, handed.errors
    assert "NotTheOwner" in station.run().errors, "it was handed over"


def test_33_an_output_of_an_earlier_version_is_claimed_by_whose_table_shows_it(station: Any) -> None:
    """Folders as they were left before owners and counters: names without numbers, a pointer of format 1."""
    _make_old(station)
    loaded = station.run(only=LOAD)
    assert loaded.success, loaded.errors
    assert b"faults" in output(station).store.read(OWNER)
    refused = station.run(table="another")
    assert "NotTheOwner" in refused.errors
    again = station.run()
    assert again.success, again.errors
    assert ids(station) == station.expected_ids()
    assert [attempt.number for attempt in output(station).attempts()] == [0, 1]


def _make_old(station: Any) -> None:
    out = output(station)
    (attempt,) = out.attempts()
    old = attempt.name.rpartition("-")[0]
    for name in (OWNER, "_counter.json"):
        out.store.delete(name)
    LocalStore(station.root / "output").delete(OWNERS)
    attempt.store.delete(OWNER)
    os.rename(attempt.path, attempt.path.with_name(old))
    # The manifest and its verdict name the attempt; only the folder's name has a number too many.
    current = json.loads(out.store.read("_current.json"))
    out.store.write("_current.json", json.dumps({"format": 1, "attempt": old,
                                                 "manifest_sha256": current["manifest_sha256"]}).encode())  # fmt: skip
    with duckdb.connect(str(station.root / "warehouse.duckdb")) as connection:
        connection.execute("DROP TABLE _j2v_loads")


@pytest.mark.parametrize("kind", ["duckdb", "iceberg"])
def test_34_a_loader_that_stood_still_does_not_overwrite_newer_rows(
    station: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is stopped after its last look at its lock; on a disk another one cannot come in until the lock is gone,
    so here the lock is a lease, which runs out."""
    if kind == "iceberg":
        station.options["warehouse"] = {"kind": "iceberg", "path": str(station.root / "iceberg")}
        adopt(station.root / "output", "faults")  # with another table it is another pipeline
    _leases_instead_of_flocks(monkeypatch)
    assert station.run().success
    station.write_shards(seed=3)
    assert station.run(only=PREDICT).success
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        check = PartitionLock.check

        def stopped(self: PartitionLock) -> None:
            check(self)
            os.write(write, b"!")
            os.kill(os.getpid(), signal.SIGSTOP)

        PartitionLock.check = stopped  # type: ignore[method-assign]
        station.instance = dg.DagsterInstance.ephemeral()
        outcome = station.run(only=LOAD)
        Path(station.root / "said").write_text(outcome.errors)
        os._exit(0 if outcome.success else 7)
    try:
        assert os.read(read, 1) == b"!"
        os.waitpid(child, os.WUNTRACED)
        station.write_shards(seed=4)
        newer = station.run()
        assert newer.success, newer.errors
        assert _ids(station, kind) == station.expected_ids()
    finally:
        os.kill(child, signal.SIGCONT)
        _, status = os.waitpid(child, 0)
    said = (station.root / "said").read_text()
    assert os.waitstatus_to_exitcode(status) == 7, said
    assert "StaleLoad" in said
    assert "Nothing was changed" in said
    assert _ids(station, kind) == station.expected_ids()
    current = output(station).current() or {}
    assert current["attempt"] == station.attempts[-1].name


def _leases_instead_of_flocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 3.0)
    monkeypatch.setattr(lease, "RENEW_S", 0.5)
    monkeypatch.setattr(lease, "POLL_S", 0.1)
    monkeypatch.setattr(
        LocalStore, "lock", lambda self, name, note, *, wait_s: lease.lease(self, name, note, wait_s=wait_s)
    )


def _ids(station: Any, kind: str) -> list[str]:
    if kind == "duckdb":
        return ids(station)
    from contextlib import closing

    from pyiceberg.catalog.sql import SqlCatalog

    with closing(SqlCatalog("default", uri=f"sqlite:///{station.root}/iceberg/catalog.db")) as catalog:
        return sorted(catalog.load_table("default.predictions").scan().to_arrow()["request_id"].to_pylist())


class Ahead:
    """The clock of a machine that is an hour ahead."""

    @staticmethod
    def now(zone: Any) -> datetime:
        return datetime.now(zone) + timedelta(hours=1)


def test_35_a_clock_that_was_ahead_does_not_bring_older_rows_back(
    station: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(folders, "datetime", Ahead)
        assert station.run().success
    station.write_shards(seed=3)
    assert station.run().success
    newest = station.expected_ids()
    assert ids(station) == newest
    # A run of its own, which has no attempt of its own.
    alone = station.run(only=LOAD)
    assert alone.success, alone.errors
    assert ids(station) == newest


def test_35_rows_of_other_shards_than_the_partitions_own_are_loaded_on_purpose_only(station: Any) -> None:
    first, before = output(station).attempts()[-1].name, station.table()
    assert station.run().success
    second = station.table()
    assert second != before
    shutil.rmtree(output(station).attempts()[-1].path)
    refused = station.run(only=LOAD)
    assert f"{first} was made of snapshot" in refused.errors
    assert f"run tag j2v/attempt={first}" in refused.errors
    assert station.table() == second
    tagged = _run_with_tag(station, first)
    assert tagged.success
    assert station.table() == before
    assert (output(station).current() or {})["attempt"] == first
    # What is predicted after that is the newer again.
    again = station.run()
    assert again.success, again.errors
    assert station.table() == second


def _run_with_tag(station: Any, attempt: str) -> Any:
    return station.definitions().resolve_job_def("faults_predict").execute_in_process(
        partition_key="2024-05-01", instance=station.instance, raise_on_error=False,
        asset_selection=[dg.AssetKey(["faults", "predictions"])], tags={"j2v/attempt": attempt},
    )  # fmt: skip


def test_35_of_two_runs_the_one_that_began_first_does_not_undo_the_other(
    station: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run has predicted; another predicts the same shards and loads; then the first comes to its load."""
    real, overtaken = assets.load, []

    def late(*arguments: Any, **options: Any) -> Any:
        if not overtaken:
            overtaken.append(True)
            with dg.DagsterInstance.ephemeral() as instance:
                other = replace(station, instance=instance).run()
            assert other.success, other.errors
        return real(*arguments, **options)

    monkeypatch.setattr(assets, "load", late)
    first = station.run()
    assert "StaleLoad" in first.errors
    assert ids(station) == station.expected_ids()
    assert (output(station).current() or {})["attempt"] == station.attempts[-1].name
