"""The scaffold says every option, and what cannot be a name or a format is refused."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import dagster as dg
import pytest
import yaml

from j2v_dagster.component import Json2VecPredictions
from j2v_dagster.scaffold import EXAMPLES, PredictionsScaffolder, ScaffoldParams, pipeline_yaml


def scaffold(folder: Path, **options: str) -> dict[str, object]:
    folder.mkdir(parents=True, exist_ok=True)
    request = dg.ScaffoldRequest(
        type_name="j2v_dagster.Json2VecPredictions", target_path=folder, scaffold_format="yaml",
        project_root=folder.parent, params=ScaffoldParams(**options),
    )  # fmt: skip
    PredictionsScaffolder().scaffold(request)
    return yaml.safe_load((folder / "defs.yaml").read_text())


def test_the_scaffold_says_every_option_with_its_default(tmp_path: Path) -> None:
    content = scaffold(tmp_path / "my-orders", table="scores")
    attributes = content["attributes"]
    assert isinstance(attributes, dict)
    assert (attributes["name"], attributes["table"]) == ("my_orders", "scores")
    required = {one.name for one in fields(Json2VecPredictions) if one.default is MISSING}
    assert required <= set(attributes)
    # What is commented out is what holds anyway.
    text = (tmp_path / "my-orders" / "defs.yaml").read_text()
    head, rest = text.split("  # Everything else, with its default:\n")
    everything = yaml.safe_load(head + re.sub("^  # ", "  ", rest, flags=re.MULTILINE))["attributes"]
    assert set(everything) == {one.name for one in fields(Json2VecPredictions)}
    for one in fields(Json2VecPredictions):
        if one.name not in attributes:
            default = list(one.default) if isinstance(one.default, tuple) else one.default
            assert everything[one.name] == default, one.name


def test_the_examples_in_the_scaffold_are_paths() -> None:
    from j2v_dagster.warehouse.columns import parse_columns

    columns = yaml.safe_load("\n".join(example.removeprefix("# ") for example in EXAMPLES))
    assert set(parse_columns(columns, partition_column="partition")) == {"id", "label", "label_probability"}
    text = pipeline_yaml({"columns": {"x": "source.file"}}, indent=2, examples=("# y",))
    assert "  columns:\n    x: source.file\n    # y\n" in text


def test_a_name_or_format_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pipeline name '2nd'"):
        scaffold(tmp_path / "2nd")
    request = dg.ScaffoldRequest(
        type_name="x", target_path=tmp_path, scaffold_format="python", project_root=None, params=ScaffoldParams()
    )
    with pytest.raises(ValueError, match="scaffolded as YAML"):
        PredictionsScaffolder().scaffold(request)
