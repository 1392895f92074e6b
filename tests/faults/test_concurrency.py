"""Fault 25: two runs of one partition at once, in two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import conftest as faults  # type: ignore[import-not-found]
import pytest

from j2v_dagster.attempts.clean import clean
from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.attempts.locks import PartitionBusy, partition_lock
from json2vec.storage.local import LocalStore

pytestmark = [pytest.mark.slow, pytest.mark.faults]

RUN = """
import json, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[1])
import conftest
from forkserver import ForkServerLauncher
if __name__ == "__main__":
    station = conftest.Station(Path(sys.argv[2]), Path(sys.argv[3]), ForkServerLauncher(), json.loads(sys.argv[4]))
    outcome = station.run()
    print(outcome.errors, file=sys.stderr)
    sys.exit(0 if outcome.success else 1)
"""


def start(station, name: str) -> subprocess.Popen:
    program = station.root / "run.py"
    program.write_text(RUN)
    options = json.dumps({"preprocessor": "injected:hurt", "rank_timeout_s": 120.0})
    command = [sys.executable, "-W", "ignore", str(program), json.dumps(sys.path), str(station.root),
               str(station.checkpoint), options]  # fmt: skip
    with open(station.root / f"{name}.log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ, start_new_session=True)


def wait_for(what, process: subprocess.Popen, log: Path, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)


def test_25_of_two_runs_one_wins_and_the_other_says_who(station) -> None:
    """The first run's rank 1 hangs, so that the second certainly meets it."""
    before = station.table()
    attempts = len(station.attempts)
    faults.arm("hang on rank 1")
    first = start(station, "first")
    try:
        journal = "rank-0.json"
        wait_for(lambda: len(station.attempts) > attempts and (station.attempts[-1] / journal).exists(), first,
                 station.root / "first.log")  # fmt: skip
        second = start(station, "second")
        assert second.wait(120) == 1
        said = (station.root / "second.log").read_text()
        assert "PartitionBusy" in said
        assert f"(process {first.pid} on" in said
        assert len(station.attempts) == attempts + 1, "the loser has made no attempt"
        report = clean(station.root / "output", older_than_days=0, pending_days=0)
        assert report.removed == ()
        assert f"process {first.pid}" in report.summary()
        assert first.poll() is None, "the winner goes on"
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(30)
    # The lock went with its holder: nothing has to be removed by hand.
    faults.disarm()
    assert station.table() == before
    again = station.run()
    assert again.success, again.errors
    assert [row[1] for row in station.table()] == station.expected_ids()


def test_25_a_lock_names_its_holder_and_predicting_does_not_wait_for_loading(tmp_path: Path) -> None:
    output = PartitionOutput(LocalStore(tmp_path / "p"), "p")
    with partition_lock(output.store, "run one"), partition_lock(output.store, "run two", "load"):
        third = partition_lock(output.store, "run three", wait_s=0.0)
        with pytest.raises(PartitionBusy, match=rf"run one \(process {os.getpid()} on .*run three.*changed nothing"):
            third.__enter__()
    with partition_lock(output.store, "run three", wait_s=0.0):
        pass
