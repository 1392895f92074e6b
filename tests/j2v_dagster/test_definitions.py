"""A code location: several pipelines in it, YAML, exports, no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from flights_options import options

import j2v_dagster
from j2v_dagster.definitions import DefinitionsFileError, pipelines_from_yaml
from j2v_dagster.pipeline import build_prediction_pipeline


def test_several_pipelines_live_in_one_code_location() -> None:
    merged = dg.Definitions.merge(*(build_prediction_pipeline(**options(name)) for name in ("one", "two")))
    dg.Definitions.validate_loadable(merged)
    assert len(list(merged.resolve_all_asset_specs())) == 8


def test_yaml_resolves_paths_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = options() | {"checkpoint": "${J2V_TEST_MODEL}/m.ckpt", "inputs": "${J2V_TEST_NONE:-data}/shards"}
    path = tmp_path / "defs.yaml"
    path.write_text(yaml.safe_dump({"pipelines": [content, options("second") | {"output": "second"}]}))
    with pytest.raises(DefinitionsFileError, match=r"pipeline 1: environment variable J2V_TEST_MODEL is not set"):
        pipelines_from_yaml(path)
    monkeypatch.setenv("J2V_TEST_MODEL", "models")
    defs = pipelines_from_yaml(path)
    assert len(list(defs.resolve_all_asset_specs())) == 8
    sensor = next(iter(defs.sensors or ()))
    assert str(tmp_path / "data" / "shards") in str(sensor.description)
    monkeypatch.setenv("J2V_HOME", str(tmp_path / "home"))
    sensor = next(iter(pipelines_from_yaml(path).sensors or ()))
    assert str(tmp_path / "home" / "data" / "shards") in str(sensor.description)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pipelines: {", "is not YAML"),
        ("[]", "expected one key"),
        ("pipelines: [{inputs: x}]", "pipeline 1: expected a mapping with a name"),
        (yaml.safe_dump({"pipelines": [options() | {"rank": 2}]}), r"unknown keys \['rank'\]"),
        (yaml.safe_dump({"pipelines": [options(), options()]}), "pipeline 2: the name 'flights' is taken"),
        (yaml.safe_dump({"pipelines": [options() | {"translator": "os:path"}]}), "translator 'os:path'"),
    ],
)
def test_yaml_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionsFileError, match=message):
        pipelines_from_yaml(path)


def test_a_code_location_loads_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(yaml.safe_dump({"pipelines": [options()]}))
    code = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1])\n"
        "import j2v_dagster.cli, j2v_dagster.component, j2v_dagster.definitions as d\n"
        "assert len(list(d.defs().resolve_all_asset_specs())) == 4\n"
        "print(sorted({'torch', 'lightning', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, json.dumps(sys.path)], capture_output=True, text=True,
        env={"J2V_DEFS": str(path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr


def test_the_exports_are_these_and_all_load() -> None:
    assert j2v_dagster.__all__ == [
        "DuckDBWarehouse", "IcebergWarehouse", "Json2VecPredictions", "Launcher", "PredictionTranslator",
        "TorchrunLauncher", "Warehouse", "build_prediction_pipeline", "partition_folder", "pipelines_from_yaml",
    ]  # fmt: skip
    for name in j2v_dagster.__all__:
        assert getattr(j2v_dagster, name).__name__ == name
    with pytest.raises(AttributeError):
        j2v_dagster.nothing  # noqa: B018


def test_two_pipelines_of_one_file_may_not_share_an_output(tmp_path: Path) -> None:
    options = {
        "name": "a", "inputs": "x", "partitions": {"kind": "dynamic"}, "checkpoint": "m", "output": "out",
        "warehouse": {"kind": "iceberg", "path": "w"}, "table": "t", "columns": {"f": "source.file"},
    }  # fmt: skip
    path = tmp_path / "pipelines.yaml"
    path.write_text(yaml.safe_dump({"pipelines": [options, options | {"name": "b", "output": "./out"}]}))
    with pytest.raises(DefinitionsFileError, match="pipeline 2: 'a' has the same output and folder"):
        pipelines_from_yaml(path)
    (tmp_path / "link").symlink_to("out")
    for same in ("out/", "x/../out", "link", f"file://{tmp_path}/out", str(tmp_path / "out")):
        other = options | {"name": "b", "output": same, "folder": "dt={partition}"}
        path.write_text(yaml.safe_dump({"pipelines": [options, other]}))
        with pytest.raises(DefinitionsFileError, match="pipeline 2: 'a' has the same output and folder"):
            pipelines_from_yaml(path)
    path.write_text(yaml.safe_dump({"pipelines": [options, options | {"name": "b", "output": "other"}]}))
    assert len(list(pipelines_from_yaml(path).resolve_all_asset_specs())) == 8
