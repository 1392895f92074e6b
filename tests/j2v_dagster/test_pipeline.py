"""The whole pipeline with real ranks, and what happens when somebody meddles with its files."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shop import CHECKS, Case, checks_of, error_of, metadata, write_shard

from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.cli.main import main
from json2vec.storage.local import file_sha256

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import json2vec as j2v

    model = j2v.Model.from_schema(
        j2v.Number(name="amount"), j2v.Category(name="merchant", max_vocab_size=8),
        j2v.Category(name="label", max_vocab_size=8, target=True), d_model=8, n_layers=1, n_heads=2, batch_size=4,
    )  # fmt: skip
    rows = [{"amount": 1.0, "merchant": m, "label": one} for m, one in (("books", "yes"), ("coffee", "no"))]
    model.learn(pa.RecordBatch.from_pylist(rows))
    return Path(model.save(tmp_path_factory.mktemp("model") / "model.ckpt"))


def test_two_ranks_end_in_a_proven_table(tmp_path: Path, checkpoint: Path, instance: dg.DagsterInstance) -> None:
    write_shard(tmp_path, "d1", "a.parquet", 0, 7)
    write_shard(tmp_path, "d1", "b.parquet", 7, 4)
    case = Case(tmp_path, checkpoint, instance)
    first = case.run()
    assert first.success, error_of(first)
    assert checks_of(first) == dict.fromkeys(CHECKS, True)
    assert {one.partition for one in first.get_asset_check_evaluations()} == {"d1"}
    assert case.table('SELECT count(*), count(DISTINCT id), count(label), min("partition") FROM labels') == [
        (11, 11, 11, "d1")
    ]

    shards, files, table = (metadata(case, role) for role in ("input_shards", "prediction_rank_files", "predictions"))
    assert shards["dagster/partition_row_count"] == files["dagster/partition_row_count"] == 11
    assert table["dagster/partition_row_count"] == 11
    assert [record.data["rows"] for record in files["ranks"].records] == [6, 5]
    assert isinstance(files["rows_per_s"], float)
    assert files["rows_per_s"] > 0
    assert files["checkpoint_sha256"] == file_sha256(checkpoint)
    lineage = {
        name: {dep.column_name for dep in deps} for name, deps in files["dagster/column_lineage"].deps_by_column.items()
    }
    assert lineage["inputs.id"] == {"id"}
    assert lineage['predictions["record/label"]'] == {"amount", "merchant"}
    deps = table["dagster/column_lineage"].deps_by_column
    assert {dep.column_name for dep in deps["label"]} == {'predictions["record/label"]'}
    assert {column.name: column.type for column in table["dagster/column_schema"].columns}["row"] == "int64"

    sample = [record.data for record in table["sample_rows"].records]
    assert [row["id"] for row in sample] == ["r0", "r1", "r2", "r3", "r4"]
    labels = case.table("SELECT label, count(*) FROM labels GROUP BY 1")
    shown = {record.data["label"]: record.data["rows"] for record in table["distribution label"].records}
    assert shown == dict(labels)
    assert sum(record.data["share"] for record in table["distribution label"].records) == pytest.approx(1, abs=1e-3)

    # The pointer names the loaded attempt, and its manifest.
    current = case.output.current()
    assert current is not None
    assert current["attempt"] == table["attempt"]
    attempt = case.root / "out" / "dt=d1" / "attempts" / current["attempt"]
    assert current["manifest_sha256"] == file_sha256(attempt / "_manifest.json")
    assert main(["verify", str(case.output.root), "--model", str(checkpoint)]) == 0

    # Data versions: of the shards, of the checkpoint.
    version = case.instance.get_latest_data_version_record(dg.AssetKey(["shop", "model_checkpoint"]))
    assert version is not None
    assert version.asset_materialization is not None
    assert (version.asset_materialization.tags or {})["dagster/data_version"] == file_sha256(checkpoint)

    meddle(case, checkpoint, attempt)


def meddle(case: Case, checkpoint: Path, attempt: Path) -> None:
    """Every step refuses what is not whole, and the table keeps its rows (one run of ranks serves all of these)."""
    before = case.table()

    # The loader looks at the files itself, whatever the checks said.
    rank_file = attempt / "rank-1.parquet"
    good = rank_file.read_bytes()
    rank_file.write_bytes(good[:-100] + bytes([good[-100] ^ 255]) + good[-99:])
    refused = case.run("predictions")
    assert not refused.success
    assert "rank 1" in error_of(refused)
    assert "SHA-256" in error_of(refused)
    rank_file.unlink()
    assert main(["verify", str(attempt), "--require", "files"]) == 1
    refused = case.run("predictions")
    assert "rank-1.parquet: it is missing" in error_of(refused)
    assert case.table() == before

    # The checks say so too when they run again, and their verdict bars the loader.
    checked = run_checks(case)
    assert checks_of(checked)["every_rank_file_present"] is False
    rank_file.write_bytes(good)
    assert "failed" in error_of(case.run("predictions"))
    assert checks_of(run_checks(case)) == dict.fromkeys(CHECKS, True)
    assert case.run("predictions").success
    (attempt / "_verified.json").unlink()
    assert "has not been checked" in error_of(case.run("predictions"))

    # A shard that was rewritten after the snapshot stops the run before any rank starts.
    write_shard(case.root, "d1", "b.parquet", 7, 4, amount=2.0)
    stale = case.run("prediction_rank_files")
    assert "b.parquet changed since" in error_of(stale)
    assert case.table() == before
    assert len(case.output.attempts()) == 1

    # A corrupt shard is named by the snapshot.
    (case.root / "shards" / "dt=d1" / "b.parquet").write_bytes(b"PAR1 but not really")
    assert "b.parquet" in error_of(case.run("input_shards"))


def run_checks(case: Case) -> dg.ExecuteInProcessResult:
    definitions: list[Any] = [*(case.defs.assets or ()), *(case.defs.asset_checks or ())]
    # Dagster finds no partitions in a selection of checks alone.
    selection = dg.AssetSelection.assets(["shop", "input_shards"]).without_checks()
    return dg.materialize(
        definitions, partition_key="d1", instance=case.instance, raise_on_error=False,
        selection=selection | dg.AssetSelection.checks(*(case.defs.asset_checks or ())),
    )  # fmt: skip


@pytest.mark.faults
def test_a_rank_that_raises_fails_the_run_and_nothing_is_loaded(
    tmp_path: Path, checkpoint: Path, instance: dg.DagsterInstance
) -> None:
    write_shard(tmp_path, "d1", "a.parquet", 0, 6)
    (tmp_path / "d1bad").mkdir()
    schema = pa.schema([("id", pa.string()), ("amount", pa.string()), ("merchant", pa.string())])
    bad = [{"id": f"x{n}", "amount": "1.5" if n < 3 else "not a number", "merchant": "books"} for n in range(4)]
    folder = tmp_path / "shards" / "dt=d1"
    for path in folder.iterdir():
        path.unlink()
    pq.write_table(pa.Table.from_pylist(bad, schema=schema), folder / "bad.parquet")
    case = Case(tmp_path, checkpoint, instance)
    failed = case.run()
    assert not failed.success
    message = error_of(failed)
    assert "rank 1" in message
    assert "bad.parquet" in message
    assert "EncodeError" in message
    (attempt,) = case.output.attempts()
    assert not attempt.committed
    assert json.loads(attempt.job_path.read_text())["world_size"] == 2
    assert not (tmp_path / "w.duckdb").exists()
    assert case.output.current() is None


CANCELLED = """
import sys
sys.path[:0] = sys.argv[3].split(":")
import dagster as dg
from j2v_dagster import TorchrunLauncher, build_prediction_pipeline
root, checkpoint = sys.argv[1:3]
defs = build_prediction_pipeline(
    name="shop", inputs=f"{root}/shards", partitions={"kind": "static", "keys": ["d1"]}, checkpoint=checkpoint,
    output=f"{root}/out", warehouse=f"{root}/w.duckdb", table="labels", columns={"id": "inputs.id"}, ranks=2,
    min_free_bytes=0, launcher=TorchrunLauncher(module="sleepy_rank", grace_s=0.5))
result = dg.materialize([*defs.assets, *defs.asset_checks], partition_key="d1",
                        instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)
"""


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_run_leaves_no_process_and_publishes_nothing(
    tmp_path: Path, checkpoint: Path, number: signal.Signals
) -> None:
    write_shard(tmp_path, "d1", "a.parquet", 0, 6)
    (tmp_path / "sleepy_rank.py").write_text(
        "import os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('asleep', flush=True)\ntime.sleep(300)\n"
    )
    path = ":".join([str(tmp_path), *sys.path])
    with open(tmp_path / "run.log", "wb") as log:
        run = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", CANCELLED, str(tmp_path), str(checkpoint), path],
            stdout=log, stderr=log,
        )  # fmt: skip
    output = PartitionOutput.of(tmp_path / "out", "d1", "dt={partition}")

    def asleep() -> bool:
        logs = [log for attempt in output.attempts() for log in attempt.log_folder.glob("rank-*.log")]
        return sum("asleep" in log.read_text() for log in logs) == 2

    deadline = time.monotonic() + 90
    while not asleep():
        assert time.monotonic() < deadline
        assert run.poll() is None, (tmp_path / "run.log").read_text()[-4000:]
        time.sleep(0.2)
    below = psutil.Process(run.pid).children(recursive=True)
    assert len(below) == 4  # supervisor, torchrun, two ranks
    run.send_signal(number)
    run.wait(30)
    _, alive = psutil.wait_procs(below, timeout=15)
    assert alive == []
    (attempt,) = output.attempts()
    assert not attempt.committed
    assert output.current() is None
    assert not (tmp_path / "w.duckdb").exists()


def test_texts_are_read_alike_from_the_shards_to_the_table(
    tmp_path: Path, checkpoint: Path, instance: dg.DagsterInstance
) -> None:
    """Options of reading reach the ranks, the checks and the estimate through the snapshot."""
    folder = tmp_path / "shards" / "dt=d1" / "region=eu"
    folder.mkdir(parents=True)
    lines = [f"r{number};{number},5;{['books', 'käse'][number % 2]}" for number in range(7)]
    text = "\n".join(["id;price;merchant", *lines]).encode("latin-1")
    (folder / "a.csv.gz").write_bytes(gzip.compress(text))
    (folder / "b.csv").touch()
    case = Case(
        tmp_path, checkpoint, instance, suffix="csv", csv={"separator": ";", "encoding": "latin-1"},
        empty_files="skip", folder_columns=["dt", "region"], contract="off", missing_columns="allow",
        columns={"id": "inputs.id", "merchant": "inputs.merchant", "region": "inputs.region", "dt": "inputs.dt"},
    )  # fmt: skip
    result = case.run()
    assert result.success, error_of(result)
    assert {name for name, passed in checks_of(result).items() if not passed} <= {"input_drift"}
    rows = case.table("SELECT id, merchant, region, dt FROM labels ORDER BY id")
    assert rows == [(f"r{number}", ["books", "käse"][number % 2], "eu", "d1") for number in range(7)]
    current = case.output.current()
    assert current is not None
    manifest = json.loads((case.root / "out/dt=d1/attempts" / current["attempt"] / "_manifest.json").read_bytes())
    assert manifest["snapshot"]["options"] == {
        "csv": {"separator": ";", "encoding": "latin-1"}, "empty_files": "skip", "folder_columns": ["dt", "region"]
    }  # fmt: skip
