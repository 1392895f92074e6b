"""`j2v-dagster init`: what it finds in folders and checkpoints, and a project that runs as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from j2v_dagster.cli.init_project import InitError, init_project, look, propose_columns
from j2v_dagster.cli.main import main
from j2v_dagster.definitions import pipelines_from_yaml


def write_shard(path: Path, first: int = 0, count: int = 5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"r{number}", "amount": float(number), "merchant": "books", "items": [{"p": 1.0}], "label": None}
        for number in range(first, first + count)
    ]
    items = pa.list_(pa.struct([("p", pa.float64())]))
    kinds = {"id": pa.string(), "amount": pa.float64(), "merchant": pa.string(), "items": items, "label": pa.string()}
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(kinds)), path)


@pytest.mark.parametrize(
    ("names", "folder", "partitions"),
    [
        (["dt=2026-02-01", "dt=2026-01-31"], "dt={partition}", {"kind": "daily", "start": "2026-01-31"}),
        (["2026-01-31-05:00"], "{partition}", {"kind": "hourly", "start": "2026-01-31-05:00"}),
        (["shop=eu", "shop=us"], "shop={partition}", {"kind": "static", "keys": ["eu", "us"]}),
        (["dt=2026-02-31"], "dt={partition}", {"kind": "static", "keys": ["2026-02-31"]}),
        (["raw/v1/day=2026-01-31", "raw/v1/day=2026-02-01"], "raw/v1/day={partition}", {"kind": "daily"}),
        (["eu/dt=2026-01-31", "us/dt=2026-01-31"], "{partition}", {"kind": "static", "keys": ["eu", "us"]}),
        ([f"key={n:03}" for n in range(60)], "key={partition}", {"kind": "dynamic"}),
        (["a=1", "b=2"], "{partition}", {"kind": "static", "keys": ["a=1", "b=2"]}),
    ],
)
def test_folders_tell_template_and_partitions(
    tmp_path: Path, names: list[str], folder: str, partitions: dict[str, Any]
) -> None:
    for name in names:
        write_shard(tmp_path / name / "part-0.parquet")
        (tmp_path / name / "_SUCCESS").touch()
    found = look(str(tmp_path))
    assert (found.suffix, found.folder, found.remarks) == ("parquet", folder, ())
    known = {name: str(value) if name == "start" else value for name, value in found.partitions.items()}
    assert partitions.items() <= known.items()
    # The template means these very folders.
    from j2v_dagster.shards.partitions import partition_of

    depth = folder.count("/") + 1
    assert all(partition_of("/".join(name.split("/")[:depth]), folder) for name in names)


def test_the_most_frequent_suffix_wins_and_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"dt={number}").mkdir()
        (tmp_path / f"dt={number}" / "a.ndjson").write_text('{"id": 1, "label": null}\n')
    write_shard(tmp_path / "dt=0" / "b.parquet")
    assert look(str(tmp_path)).suffix == "ndjson"
    found = look(str(tmp_path), suffix="parquet")
    assert found.suffix == "parquet"
    assert found.schema is not None
    assert found.schema.names == ["id", "amount", "merchant", "items", "label"]
    assert "no orc file was found" in look(str(tmp_path), suffix="orc").remarks[0]
    (tmp_path / "flat").mkdir()
    assert "no shard was found" in look(str(tmp_path / "flat")).remarks[0]
    write_shard(tmp_path / "flat" / "a.parquet")
    assert "a partition is a folder" in look(str(tmp_path / "flat")).remarks[0]


def test_columns_come_from_shards_and_targets() -> None:
    schema = pa.schema({"id": pa.string(), "Label": pa.string(), "odd name": pa.int64(), "items": pa.list_(pa.int64())})
    assert propose_columns(schema, {"record/label": "category", "record/price": "number"}) == {
        "id": "inputs.id",
        "Label": "inputs.Label",
        "odd name": 'inputs["odd name"]',
        "predicted_label": 'predictions["record/label"].content.value',
        "label_probability": 'predictions["record/label"].content.probability',
        "price": 'predictions["record/price"].content',
        "source_file": "source.file",
        "source_row": "source.row",
        "attempt": "manifest.attempt",
    }


def test_a_project_is_written_once_and_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shard(tmp_path / "in" / "dt=2026-01-31" / "a.parquet")
    project = tmp_path / "my-orders"
    assert main(["init", str(project), "--inputs", str(tmp_path / "in")]) == 0
    printed = capsys.readouterr().out
    assert "found parquet shards in folders like dt={partition}; partitions {kind: daily, start: 2026-01-31}" in printed
    files = {path.name for path in project.iterdir()}
    assert files == {"pipelines.yaml", "definitions.py", "workspace.yaml", "dagster.yaml", "README.md", ".gitignore"}
    (options,) = yaml.safe_load((project / "pipelines.yaml").read_text())["pipelines"]
    assert options["inputs"] == "../in"
    assert options["columns"]["merchant"] == "inputs.merchant"
    assert "# label: predictions" in (project / "pipelines.yaml").read_text()
    defs = pipelines_from_yaml(project / "pipelines.yaml")
    dg.Definitions.validate_loadable(defs)
    assert {spec.key.path[0] for spec in defs.resolve_all_asset_specs()} == {"my_orders"}
    assert yaml.safe_load((project / "workspace.yaml").read_text())["load_from"]
    assert yaml.safe_load((project / "dagster.yaml").read_text())["telemetry"] == {"enabled": False}
    for command in ("dagster dev -w workspace.yaml", "j2v-dagster estimate pipelines.yaml", "j2v-dagster verify"):
        assert command in (project / "README.md").read_text()

    before = {path: path.read_bytes() for path in project.iterdir()}
    (project / "README.md").unlink()
    before.pop(project / "README.md")
    assert main(["init", str(project)]) == 1
    assert "pipelines.yaml" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in project.iterdir()} == before


def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InitError, match="pipeline name '2nd'"):
        init_project(tmp_path / "2nd")
    assert not (tmp_path / "2nd").exists()
    assert main(["init", str(tmp_path / "x"), "--checkpoint", str(tmp_path / "absent.ckpt")]) == 1
    assert main(["init", str(tmp_path / "x"), "--inputs", str(tmp_path / "absent")]) == 1
    assert not (tmp_path / "x").exists()
    init_project(tmp_path / "2nd", name="second")
    dg.Definitions.validate_loadable(pipelines_from_yaml(tmp_path / "2nd" / "pipelines.yaml"))


@pytest.mark.slow
def test_a_project_runs_as_it_was_written_and_then_estimates_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json2vec as j2v

    model = j2v.Model.from_schema(
        j2v.Number("amount"), j2v.Category("merchant", max_vocab_size=8),
        j2v.Category("label", max_vocab_size=8, target=True), d_model=8, n_layers=1, n_heads=2, batch_size=4,
    )  # fmt: skip
    rows = [{"amount": 1.0, "merchant": m, "label": one} for m, one in (("books", "yes"), ("coffee", "no"))]
    model.learn(pa.RecordBatch.from_pylist(rows))
    checkpoint = model.save(tmp_path / "model.ckpt")
    write_shard(tmp_path / "in" / "dt=d1" / "a.parquet", 0, 30)
    write_shard(tmp_path / "in" / "dt=d2" / "a.parquet", 30, 60)
    project = tmp_path / "orders"
    assert main(["init", str(project), "--inputs", str(tmp_path / "in"), "--checkpoint", str(checkpoint)]) == 0
    capsys.readouterr()
    pipelines = project / "pipelines.yaml"
    (written,) = yaml.safe_load(pipelines.read_text())["pipelines"]
    assert written["partitions"] == {"kind": "static", "keys": ["d1", "d2"]}

    def estimated() -> dict[str, Any]:
        assert main(["estimate", str(pipelines), "--partition", "d2", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert (estimated()["seconds"], estimated()["basis"]) == (None, "no past rate: first run")
    defs = pipelines_from_yaml(pipelines)
    definitions: list[Any] = [*(defs.assets or ()), *(defs.asset_checks or ())]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(definitions, partition_key="d1", instance=instance)
        assert result.success
        said = [
            entry.user_message
            for entry in instance.all_logs(result.run_id)
            if entry.step_key == "orders__prediction_rank_files" and entry.dagster_event is None
        ]
    assert said[0].startswith("estimate: 30 rows in 1 shard")  # before anything else
    assert "no past rate: first run" in said[0]
    with duckdb.connect(str(project / "data" / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute("SELECT count(*), count(predicted_label), min(partition) FROM orders").fetchall()
    assert found == [(30, 30, "d1")]

    # The next estimate is of this attempt: compare it with the attempt's own numbers.
    (marker,) = (project / "data" / "predictions" / "orders" / "dt=d1" / "attempts").glob("*/rank-0.json")
    from json2vec.rank_files.manifest import Marker

    past = Marker.model_validate_json(marker.read_bytes())
    worked = (past.finished - past.started).total_seconds()
    after = estimated()
    assert "from 1 past attempt of this model with these settings" in after["basis"]
    assert after["output_bytes"] == round(60 * sum(file.bytes for file in past.files) / 30)
    assert after["seconds"] > 60 * worked / 30  # start-up comes on top
    assert after["seconds_low"] == after["seconds"] == after["seconds_high"]
    assert after["rows"] == 60
