"""What the README shows is run as it stands there."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from j2v_dagster.definitions import pipelines_from_yaml
from j2v_dagster.demo.shards import write_missing

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str, holding: str) -> str:
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holding in text]
    assert len(found) == 1, f"expected one {language} block with {holding!r}, found {len(found)}"
    return found[0]


@pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.* is deprecated",  # Lightning about torch
    "ignore:Total length of `list` across ranks is zero",  # fitting without a validate split
    "ignore:Couldn't infer the batch indices",  # our batches are no tensors
)
def test_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write_missing(Path("demo-data/shards"), [date(2013, 1, 28), date(2013, 2, 1)])
    names: dict[str, Any] = {}
    exec(compile(block("python", "from_schema"), "README.md", "exec"), names)
    assert "PASSED" in capsys.readouterr().out
    day = pl.read_parquet("demo-data/shards/dt=2013-02-01/*.parquet", hive_partitioning=False)
    assert names["table"]["inputs"].struct.field("observation_id").to_list() == day["observation_id"].to_list()


def test_pipeline_yaml_makes_definitions(tmp_path: Path) -> None:
    path = tmp_path / "pipelines.yaml"
    path.write_text(block("yaml", "pipelines:"))
    repository = pipelines_from_yaml(path).get_repository_def()
    assert {"/".join(key.path) for key in repository.asset_graph.get_all_asset_keys()} == {
        "orders/input_shards", "orders/model_checkpoint", "orders/prediction_rank_files", "orders/predictions",
    }  # fmt: skip
    assert repository.has_sensor_def("orders_shards")
    assert yaml.safe_load(path.read_text())["pipelines"][0]["ranks"] == 4


def test_every_make_target_it_names_exists() -> None:
    pages = README + (ROOT / "docs/demo.md").read_text()
    named = set(re.findall(r"`make ([a-z-]+)", pages)) | set(re.findall(r"^make ([a-z-]+)", pages, re.MULTILINE))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= known
    assert {"demo", "ui", "test", "check", "clean"} <= named


def test_every_file_it_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
