"""The component in a dg project, by the real command line: scaffold, check, list; several of them beside each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml
from flights_options import options

import json2vec
from j2v_dagster.component import Json2VecPredictions
from j2v_dagster.pipeline import build_prediction_pipeline

PYPROJECT = """
[project]
name = "shop"
version = "0.1.0"
requires-python = ">=3.11"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "shop"
"""
DEFINITIONS = """
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
Run = Callable[..., subprocess.CompletedProcess[str]]
ROLES = ("input_shards", "model_checkpoint", "prediction_rank_files", "predictions")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    defs = root / "src" / "shop" / "defs"
    defs.mkdir(parents=True)
    (root / "pyproject.toml").write_text(PYPROJECT)
    (defs.parent / "__init__.py").touch()
    (defs / "__init__.py").touch()
    (defs.parent / "definitions.py").write_text(DEFINITIONS)
    return root


@pytest.fixture
def run_dg(project: Path) -> Run:
    scripts = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(Path(json2vec.__file__).parents[1]), str(project / "src")]),
        "HOME": str(project.parent), "DAGSTER_DISABLE_TELEMETRY": "1", "DG_CLI_TELEMETRY_ENABLED": "0",
        "COLUMNS": "200", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(scripts / "dg"), *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=300
        )

    return run


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_fresh_project_scaffolds_checks_and_lists(project: Path, run_dg: Run) -> None:
    listed = json.loads(succeed(run_dg("list", "components", "--json")))
    assert "j2v_dagster.Json2VecPredictions" in {one["key"] for one in listed["items"]}
    succeed(run_dg("scaffold", "defs", "j2v_dagster.Json2VecPredictions", "orders"))
    succeed(
        run_dg(
            "scaffold", "defs", "j2v_dagster.Json2VecPredictions", "returns", "--inputs", "s3://returns/shards",
            "--suffix", "ndjson", "--checkpoint", "other.ckpt", "--warehouse", "data/returns.duckdb",
        )
    )  # fmt: skip
    # Nothing is edited: what was scaffolded checks, and two of them live beside each other.
    assert "validated successfully" in succeed(run_dg("check", "yaml"))
    succeed(run_dg("check", "defs"))
    found = json.loads(succeed(run_dg("list", "defs", "--json")))
    assets = {one["asset_key"]: one for one in found["assets"]}
    assert set(assets) == {f"{name}/{role}" for name in ("orders", "returns") for role in ROLES}
    assert set(assets["returns/input_shards"]["kinds"]) == {"s3", "ndjson"}
    assert {one["name"] for one in found["jobs"]} == {"orders_predict", "returns_predict"}
    # The last one is Dagster's own, for the automation conditions of the tables.
    sensors = {"orders_shards", "returns_shards", "default_automation_condition_sensor"}
    assert {one["name"] for one in found["sensors"]} == sensors
    checks = {one["key"] for one in found["asset_checks"]}
    assert {"orders/prediction_rank_files:row_alignment", "returns/prediction_rank_files:row_alignment"} <= checks

    orders = yaml.safe_load((project / "src/shop/defs/orders/defs.yaml").read_text())["attributes"]
    home = project / "src/shop/defs/orders"
    assert (home / orders["output"]).resolve() == project / "data" / "predictions" / "orders"
    returns = yaml.safe_load((project / "src/shop/defs/returns/defs.yaml").read_text())["attributes"]
    assert returns["inputs"] == "s3://returns/shards"
    assert orders["output"] != returns["output"]

    # The same name twice is an error that says which key there is twice.
    where = project / "src/shop/defs/returns/defs.yaml"
    text = where.read_text()
    where.write_text(text.replace("name: returns", "name: orders"))
    twice = run_dg("check", "defs")
    assert twice.returncode != 0
    assert "Duplicate asset key: AssetKey(['orders', 'input_shards'])" in twice.stdout + twice.stderr
    # So is a key that is no option; the YAML check alone finds it, with its line.
    where.write_text(text.replace("  table: returns", "  tabel: returns"))
    wrong = run_dg("check", "yaml")
    assert wrong.returncode != 0
    assert "tabel" in wrong.stdout + wrong.stderr


def test_the_component_loads_without_torch() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1].split(':')\n"
        "from j2v_dagster.component import Json2VecPredictions\n"
        "component = Json2VecPredictions.from_attributes_dict(attributes=dict(name='a', inputs='x', checkpoint='m', "
        "output='o', table='t', partitions={'kind': 'dynamic'}, columns={'f': 'source.file'}, "
        "warehouse={'kind': 'iceberg', 'path': 'w'}))\n"
        "from j2v_dagster.pipeline import build_prediction_pipeline\n"
        "build_prediction_pipeline(**{k: v for k, v in vars(component).items()})\n"
        "print(sorted({'torch', 'lightning', 'pandas', 'pyiceberg'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, ":".join(sys.path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_component_builds_the_same_pipeline(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(
        yaml.safe_dump({"type": "j2v_dagster.component.Json2VecPredictions", "attributes": options()})
    )
    component = Json2VecPredictions(**options())
    context = dg.ComponentTree.for_test().load_context if hasattr(dg.ComponentTree, "for_test") else None
    if context is None:
        pytest.skip("this Dagster has no component tree for tests")
    assert {spec.key for spec in component.build_defs(context).resolve_all_asset_specs()} == {
        spec.key for spec in build_prediction_pipeline(**options()).resolve_all_asset_specs()
    }
