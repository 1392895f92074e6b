"""Faults 28 to 30: somebody wants more than predictions."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import conftest as faults  # type: ignore[import-not-found]
import duckdb
import pytest

from j2v_dagster.shards.partitions import PartitionKeyError, partition_folder, partition_of

pytestmark = [pytest.mark.slow, pytest.mark.faults]


class Command:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("shape", ["bare pickle", "torch zip"])
def test_28_a_malicious_checkpoint_runs_nothing(station, tmp_path, shape) -> None:
    proof, path = tmp_path / "it-ran", tmp_path / "evil.ckpt"
    data = pickle.dumps({"schema": Command(f"touch {proof}"), "vocabularies": {}, "state_dict": {}})
    path.write_bytes(data)
    if shape == "torch zip":
        import torch

        torch.save({"schema": 1, "vocabularies": {}, "state_dict": {}}, path)
        with zipfile.ZipFile(path) as whole:
            members = {name: whole.read(name) for name in whole.namelist()}
        with zipfile.ZipFile(path, "w") as changed:
            for name, content in members.items():
                changed.writestr(name, data if name.endswith("data.pkl") else content)
    pickle.loads(pickle.dumps(Command("true")))  # this shape does run where it is trusted
    before, attempts = station.table(), len(station.attempts)
    outcome = station.run(checkpoint=str(path))
    assert not outcome.success
    assert "evil.ckpt" in outcome.errors
    assert "nothing in it was run" in outcome.errors
    assert not proof.exists()
    assert len(station.attempts) == attempts, "refused before any rank starts"
    assert station.table() == before


def test_28_half_a_checkpoint(station, checkpoint, tmp_path) -> None:
    path = tmp_path / "half.ckpt"
    whole = checkpoint.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    before = station.table()
    outcome = station.run(checkpoint=str(path))
    assert not outcome.success
    assert "half.ckpt cannot be read" in outcome.errors
    assert "truncated" in outcome.errors
    assert station.table() == before


HOSTILE = [
    "../x",
    "..",
    ".",
    "a/b",
    "/etc",
    "%2e%2e",
    "..%2fx",
    "a\\b",
    "x" * 150,
    "ü" * 90,
    "'; --",
    "a\nb",
    "-rf",
    "{partition}",
]


@pytest.mark.parametrize("key", HOSTILE)
@pytest.mark.parametrize("template", ["dt={partition}", "{partition}", "a/{partition}"])
def test_29_a_hostile_partition_key_stays_below_the_root(tmp_path: Path, key: str, template: str) -> None:
    root = tmp_path / "root"
    path = root / partition_folder(key, template)
    path.mkdir(parents=True)
    assert root.resolve() in path.resolve().parents
    assert path.resolve().relative_to(root.resolve()).parts[:-1] == tuple(template.split("/")[:-1])
    assert partition_of(str(path.relative_to(root)), template) == key, "no two keys share a folder"


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 300, "ü" * 150])
def test_29_a_partition_key_that_cannot_be_a_folder_is_refused(key: str) -> None:
    with pytest.raises(PartitionKeyError, match="Remedy: choose"):
        partition_folder(key)


def test_29_a_hostile_partition_runs_inside_its_root(station) -> None:
    key = "../../x"
    options = {"partitions": {"kind": "static", "keys": [key]}}
    folder = station.root / "inputs" / partition_folder(key)
    folder.mkdir(parents=True)
    faults.records(9, 12).write_parquet(folder / "part-0.parquet")
    outside = sorted(path for path in station.root.parent.iterdir())
    job = station.definitions(**options).resolve_job_def("faults_predict")
    result = job.execute_in_process(partition_key=key, instance=station.instance, raise_on_error=False)
    assert result.success
    assert sorted(path for path in station.root.parent.iterdir()) == outside
    assert (station.root / "output" / partition_folder(key) / "_current.json").exists()
    assert {row[0] for row in station.table()} == {faults.PARTITION, key}


def test_30_sql_in_names_and_keys(station) -> None:
    table, column, key = (
        't"; drop table predictions;--',
        'c"; drop table predictions;--',
        "o'x'; drop table predictions;--",
    )
    options = {
        "partitions": {"kind": "static", "keys": [key]},
        "table": table,
        "output": str(station.root / "output 2"),
        "partition_column": 'p"x',
        "columns": {column: "inputs.request_id", "select": 'predictions["record/label"].content.value'},
    }
    folder = station.root / "inputs" / partition_folder(key)
    folder.mkdir(parents=True)
    faults.records(9, 12).write_parquet(folder / "part-0.parquet")
    before = station.table()
    job = station.definitions(**options).resolve_job_def("faults_predict")
    for _ in range(2):  # the second time the partition is deleted first
        result = job.execute_in_process(partition_key=key, instance=station.instance, raise_on_error=False)
        assert result.success
    assert station.table() == before, "the other table is still there, untouched"
    with duckdb.connect(str(station.root / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute("select table_name from duckdb_tables() order by 1").fetchall() == [
            ("_j2v_loads",),
            ("predictions",),
            (table,),
        ]
        quoted = table.replace('"', '""')
        assert connection.execute(f'select count(*), min("p""x") from "{quoted}"').fetchall() == [(12, key)]
