"""A warehouse and a launcher of other packages, named in a YAML file, from shards to a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import documented  # type: ignore[import-not-found]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from shop import CHECKS, LABEL, checks_of, error_of, write_shard

import json2vec as j2v
from j2v_dagster.cli.main import main
from j2v_dagster.definitions import pipelines_from_yaml
from j2v_dagster.options import OptionError
from j2v_dagster.pipeline import build_prediction_pipeline

WAREHOUSE = {"kind": "my_warehouse:ParquetWarehouse", "path": "lake"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with shards, a model, and the modules of docs/warehouses.md and docs/launchers.md."""
    for page, name in (("warehouses.md", "my_warehouse"), ("launchers.md", "my_launcher")):
        (tmp_path / f"{name}.py").write_text(documented.blocks(page)[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def options(**more: Any) -> dict[str, Any]:
    return {
        "name": "shop", "inputs": "shards", "partitions": {"kind": "static", "keys": ["d1", "d2"]},
        "checkpoint": "model.ckpt", "output": "out", "warehouse": WAREHOUSE, "table": "labels", "ranks": 2,
        "min_free_bytes": 0, "launcher": {"kind": "my_launcher:ProcessLauncher", "grace_s": 1},
        "columns": {"id": "inputs.id", "label": LABEL, "row": "source.row", "attempt": "manifest.attempt"},
    } | more  # fmt: skip


@pytest.mark.slow
def test_a_pipeline_runs_on_kinds_of_other_packages(project: Path) -> None:
    model = j2v.Model.from_schema(
        j2v.Number(name="amount"), j2v.Category(name="merchant", max_vocab_size=8),
        j2v.Category(name="label", max_vocab_size=8, target=True), d_model=8, n_layers=1, n_heads=2, batch_size=4,
    )  # fmt: skip
    rows = [{"amount": 1.0, "merchant": m, "label": one} for m, one in (("books", "yes"), ("coffee", "no"))]
    model.learn(pa.RecordBatch.from_pylist(rows))
    model.save(project / "model.ckpt")
    write_shard(project, "d1", "a.parquet", 0, 7)
    write_shard(project, "d1", "b.parquet", 7, 4)
    (project / "pipelines.yaml").write_text(yaml.safe_dump({"pipelines": [options()]}))
    defs = pipelines_from_yaml(project / "pipelines.yaml")
    with dg.DagsterInstance.ephemeral() as instance:
        for number in range(2):  # the second load replaces the first
            done = dg.materialize(
                [*(defs.assets or ()), *(defs.asset_checks or ())],  # type: ignore[list-item]
                partition_key="d1", instance=instance, raise_on_error=False,
            )  # fmt: skip
            assert done.success, error_of(done)
            assert checks_of(done) == dict.fromkeys(CHECKS, True)
            event = instance.get_latest_materialization_event(dg.AssetKey(["shop", "predictions"]))
            assert event is not None
            assert event.asset_materialization is not None
            metadata = event.asset_materialization.metadata
            assert metadata["replaced_rows"].value == (11 if number else 0)
            assert str(metadata["dagster/uri"].value).startswith(f"file://{project}/lake/labels")
    (file,) = (project / "lake" / "labels").glob("*.parquet")
    found = pq.ParquetFile(file).read()
    assert sorted(found["id"].to_pylist()) == sorted(f"r{number}" for number in range(11))
    assert found["partition"].unique().to_pylist() == ["d1"]
    assert set(found["label"].to_pylist()) <= {"yes", "no"}
    current = json.loads((project / "out" / "dt=d1" / "_current.json").read_text())
    assert found["attempt"].unique().to_pylist() == [current["attempt"]]
    assert pq.read_metadata(file).metadata[b"manifest_sha256"].decode() == current["manifest_sha256"]
    assert main(["verify", str(project / "out" / "dt=d1" / "attempts" / current["attempt"])]) == 0
    (spec,) = (one for one in defs.resolve_all_asset_specs() if one.key.path[-1] == "predictions")
    assert spec.kinds == {"parquet"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"warehouse": {**WAREHOUSE, "compresion": "zstd"}}, r"option 'compresion' .*'compression'"),
        ({"warehouse": {"kind": "my_warehouse:ParquetWarehous"}}, r"did you mean 'ParquetWarehouse'"),
        ({"warehouse": {"kind": "my_warehouse:Loaded"}}, "no warehouse: it has no method uri"),
        ({"launcher": "my_launcer:ProcessLauncher"}, "there is no module 'my_launcer' here"),
        ({"launcher": {"kind": "my_warehouse:ParquetWarehouse", "path": "x"}}, "is no launcher: .*submit"),
    ],
)
def test_what_is_wrong_with_a_kind_is_said_when_the_pipeline_is_built(
    project: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=f"pipeline 'shop': .*{message}"):
        build_prediction_pipeline(**options(**wrong))
