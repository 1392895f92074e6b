"""The YAML of a pipeline as people start from: what must be said, then every other option with its default.

`dg scaffold defs` and ``j2v-dagster init`` both write it. The options' descriptions are those of `j2v_dagster.options`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import dagster as dg
import yaml
from pydantic import BaseModel, Field

from j2v_dagster.options import Option
from j2v_dagster.options import options as known_options
from json2vec.storage.opening import relative

EXAMPLES = (
    "# id: inputs.id",
    '# label: predictions["record/label"].content.value',
    '# label_probability: predictions["record/label"].content.probability',
)
"""Columns that most pipelines want, for those who know neither the shards nor the model yet."""


class ScaffoldParams(BaseModel):
    """What ``dg scaffold defs j2v_dagster.Json2VecPredictions`` may be told."""

    inputs: str = Field("data/shards", description="Root of all partitions, relative to the project, or a URI.")
    suffix: str = Field("parquet", description="File format of the shards.")
    checkpoint: str = Field("model.ckpt", description="The model's checkpoint, relative to the project.")
    output: str = Field("", description="Folder for attempts, relative to the project; default: data/predictions/NAME.")
    warehouse: str = Field("data/warehouse.duckdb", description="DuckDB file, relative to the project.")
    table: str = Field("", description="The table's name; default: the pipeline's.")


class PredictionsScaffolder(dg.Scaffolder[ScaffoldParams]):
    """Writes a ``defs.yaml`` that checks, and says what else could be said."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        return ScaffoldParams

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        """Write the component's file into the folder that dg made.

        Raises:
            ValueError: a folder's name that no pipeline can have, or a format other than YAML.
        """
        if request.scaffold_format != "yaml":
            raise ValueError(
                "Json2VecPredictions is scaffolded as YAML. Remedy: leave --format out; in Python, call "
                "j2v_dagster.build_prediction_pipeline from a @dg.definitions function"
            )
        name = request.target_path.name.replace("-", "_")
        if not name.isidentifier():
            raise ValueError(f"pipeline name {name!r}: expected letters, digits and underscores, no digit first")
        home = request.target_path if request.project_root is None else request.project_root

        def near(path: str) -> str:
            return relative(path, request.target_path, home=home)

        params = request.params
        options = {
            "name": name,
            "inputs": near(params.inputs),
            "suffix": params.suffix,
            "partitions": {"kind": "dynamic"},
            "checkpoint": near(params.checkpoint),
            "output": near(params.output or f"data/predictions/{name}"),
            "warehouse": near(params.warehouse),
            "table": params.table or name,
            "columns": {"source_file": "source.file", "source_row": "source.row", "attempt": "manifest.attempt"},
        }
        text = (
            f"# Relative paths are relative to this file.\ntype: {request.type_name}\n\nattributes:\n"
            f"{pipeline_yaml(options, indent=2, examples=EXAMPLES)}"
        )
        with open(request.target_path / "defs.yaml", "a" if request.append else "w", encoding="utf-8") as file:
            file.write(f"---\n{text}" if request.append else text)


def pipeline_yaml(options: Mapping[str, Any], *, indent: int = 0, examples: tuple[str, ...] = ()) -> str:
    """A pipeline's options as YAML with comments, the rest of them commented out with their defaults.

    Args:
        options: values by name; written first, in this order.
        indent: spaces before every line.
        examples: comment lines for the end of ``columns``.
    """
    options_by_name = {option.name: option for option in known_options()}
    lines: list[str] = []
    for name, value in options.items():
        lines += _comment("#", options_by_name[name])
        if name == "columns":
            lines += ["columns:", *(f"  {_flow(column)}: {_flow(path)}" for column, path in value.items())]
            lines += [f"  {example}" for example in examples]
        else:
            lines.append(f"{name}: {_flow(value)}")
    lines += ["", "# Everything else, with its default:"]
    for option in options_by_name.values():
        if option.name not in options and not option.required:
            default = list(option.default) if isinstance(option.default, tuple) else option.default
            lines += [*_comment("##", option), f"# {option.name}: {_flow(default)}"]
    pad = " " * indent
    return "".join(f"{pad}{line}".rstrip() + "\n" for line in lines)


def _comment(mark: str, option: Option) -> list[str]:
    """What an option means, as lines of a comment; two marks keep it one where the option's line is made live."""
    example = "" if option.example is None else f" For example {_flow(option.example)}."
    return textwrap.wrap(f"{option.description}{example}", 100, initial_indent=f"{mark} ", subsequent_indent=f"{mark} ")


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
