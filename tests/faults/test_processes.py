"""Faults 3, 10, 26 and 32: whole processes die, meet, or are told to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conftest as faults  # type: ignore[import-not-found]
import plain_ranks  # type: ignore[import-not-found]
import psutil
import pyarrow.parquet as pq
import pytest

import json2vec as j2v

HERE = Path(__file__).parent
pytestmark = [pytest.mark.slow, pytest.mark.faults]


def wait_for(condition: Callable[[], Any], seconds: float, process: subprocess.Popen[bytes] | None = None) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        assert process is None or process.poll() is None, "the process ended too early"
        time.sleep(0.1)
    raise AssertionError(f"nothing within {seconds} s")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ranks_of(root: Path) -> list[psutil.Process]:
    """Every process, but for us, whose command line names a job below ``root``: supervisor, torchrun and ranks."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(root) in line and "job.json" in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def is_hung(station: Any) -> bool:
    """Both ranks have begun, and rank 1 is past its second batch: it sleeps in the third."""
    logs = [attempt / "logs" / f"rank-{rank}.log" for attempt in station.attempts[1:] for rank in (0, 1)]
    return len(logs) == 2 and all(log.exists() and "progress" in log.read_text() for log in logs)


def test_03_the_parent_is_killed(station, checkpoint, tmp_path) -> None:
    before = station.table()
    faults.arm("hang on rank 1")
    with open(tmp_path / "run.log", "wb") as log:
        run = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / "pipeline_process.py"), str(tmp_path), str(checkpoint)],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    wait_for(lambda: is_hung(station), 120, run)
    assert len(ranks_of(tmp_path)) >= 4, "supervisor, torchrun and two ranks"
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    wait_for(lambda: not ranks_of(tmp_path), 30)
    assert station.table() == before
    left = station.attempts[-1]
    assert not (left / "_manifest.json").exists()
    faults.disarm()
    again = station.run()
    assert again.success, again.errors
    assert [row[1] for row in station.table()] == station.expected_ids()
    assert station.attempts[-1] != left


def test_10_two_nodes_with_equal_local_ranks(checkpoint, tmp_path) -> None:
    """Two real torchrun agents with one rank each: both ranks are local rank 0, and their files differ."""
    (tmp_path / "in").mkdir()
    for index in range(3):
        faults.records(index, 40).write_parquet(tmp_path / "in" / f"{index}.parquet")
    out, port = tmp_path / "out", str(free_port())
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    nodes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(node),
             "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", port, plain_ranks.__file__,
             str(checkpoint), str(tmp_path / "in"), str(out)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for node in range(2)
    ]  # fmt: skip
    texts = [node.communicate(timeout=180)[0].decode() for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], texts
    assert sorted(path.name for path in out.glob("rank-*.parquet")) == ["rank-0.parquet", "rank-1.parquet"]
    report = j2v.verify_predictions(out, model=checkpoint)
    assert report.passed, report.summary()
    assert report.rows == 120
    assert [pq.read_metadata(out / f"rank-{rank}.parquet").num_rows for rank in (0, 1)] == [60, 60]


LOAD = """
import os, signal, sys
import pyarrow as pa
from j2v_dagster.warehouse.duckdb import DuckDBWarehouse
probability = pa.array([0.5] * 4000, pa.float32())
table = pa.table({"request_id": ["new"] * 4000, "label": ["x"] * 4000, "probability": probability})
def batches():
    for index, batch in enumerate(table.to_batches(max_chunksize=1000)):
        if index == 2:
            print("deleted, and half inserted", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch
DuckDBWarehouse(sys.argv[1]).replace_partition(table="predictions", partition_column="partition", partition=sys.argv[2],
                                               schema=table.schema, batches=batches(), rows=4000)
"""


def test_26_the_load_is_killed_between_delete_and_commit(station) -> None:
    before = station.table()
    assert before
    killed = subprocess.run(
        [sys.executable, "-c", LOAD, str(station.root / "warehouse.duckdb"), faults.PARTITION],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "half inserted" in killed.stdout
    assert station.table() == before, "the old rows are intact"
    again = station.run()
    assert again.success, again.errors
    assert [row[1] for row in station.table()] == station.expected_ids()


DEFINITIONS = """
import sys
sys.path[:0] = [{here!r}, {repository!r}]
from pipeline_process import station
defs = station({root!r}, {checkpoint!r}).definitions()
"""

LAUNCH = """
mutation ($job: String!, $location: String!, $repository: String!, $partition: String!) {
  launchPipelineExecution(executionParams: {
    selector: {pipelineName: $job, repositoryLocationName: $location, repositoryName: $repository}, mode: "default",
    executionMetadata: {tags: [{key: "dagster/partition", value: $partition}]}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
WHERE = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
TERMINATE = (
    "mutation ($run: String!) { terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } } }"
)
STATUS = "query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"


def test_32_a_run_cancelled_in_the_ui(station, checkpoint, tmp_path) -> None:
    """As the UI does it: a real webserver, the default run launcher, `terminateRun` over GraphQL."""
    before = station.table()
    faults.arm("hang on rank 1")
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    # The queue needs the daemon; everything else is as it comes.
    (home / "dagster.yaml").write_text(
        "telemetry:\n  enabled: false\n"
        "run_coordinator:\n  module: dagster._core.run_coordinator\n  class: DefaultRunCoordinator\n"
    )
    (tmp_path / "defs.py").write_text(
        DEFINITIONS.format(
            here=str(HERE), repository=str(HERE.parents[1]), root=str(tmp_path), checkpoint=str(checkpoint)
        )
    )

    def ask(query: str, **variables: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql", json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.loads(reply.read())
        assert "errors" not in answer, answer
        return answer["data"]

    def repository() -> Any:
        try:
            return ask(WHERE)["repositoriesOrError"]["nodes"]
        except OSError:
            return None

    with open(tmp_path / "webserver.log", "wb") as log:
        server = subprocess.Popen(
            [str(Path(sys.executable).with_name("dagster-webserver")), "-f", str(tmp_path / "defs.py"),
             "-h", "127.0.0.1", "-p", str(port)],
            stdout=log, stderr=log, start_new_session=True, env=os.environ | {"DAGSTER_HOME": str(home)},
        )  # fmt: skip
    try:
        (node,) = wait_for(repository, 180, server)
        launched = ask(LAUNCH, job="faults_predict", location=node["location"]["name"], repository=node["name"],
                       partition=faults.PARTITION)["launchPipelineExecution"]  # fmt: skip
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run = launched["run"]["runId"]
        wait_for(lambda: is_hung(station), 180, server)
        assert len(ranks_of(tmp_path)) >= 4
        answer = ask(TERMINATE, run=run)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer
        wait_for(lambda: not ranks_of(tmp_path), 30)
        wait_for(lambda: ask(STATUS, run=run)["runOrError"]["status"] == "CANCELED", 60)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    assert station.table() == before
    assert not (station.attempts[-1] / "_manifest.json").exists()
    current = json.loads((station.root / "output" / f"dt={faults.PARTITION}" / "_current.json").read_bytes())
    assert current["attempt"] == station.attempts[0].name
    faults.disarm()
    again = station.run()
    assert again.success, again.errors
