"""The code location that workspace.yaml names: pipelines from the YAML file in ``J2V_DEFS``, the demo's by default.

    pipelines:
      - name: flights
        inputs: ${DATA:-data}/shards        # environment variables, with a default
        partitions: {kind: daily, start: 2013-01-01}
        ...                                 # every key is an option of build_prediction_pipeline

Relative paths (``inputs``, ``checkpoint``, ``output``, ``warehouse``, ``scratch``) are relative to ``J2V_HOME`` where
that is set, else to the YAML file's folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from j2v_dagster.options import PipelineOptions, unknown_options
from j2v_dagster.options import options as known_options
from j2v_dagster.pipeline import pipeline_definitions
from j2v_dagster.shards.partitions import output_template
from j2v_dagster.shards.source import ShardSource
from json2vec.storage.opening import absolute, canonical

DEFS_VARIABLE = "J2V_DEFS"
HOME_VARIABLE = "J2V_HOME"
DEMO_DEFS = Path(__file__).parent / "demo" / "defs.yaml"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class DefinitionsFileError(ValueError):
    """A YAML file of pipelines that cannot be meant."""


def pipelines_from_yaml(path: str | os.PathLike[str]) -> dg.Definitions:
    """The definitions of every pipeline in a YAML file.

    Raises:
        DefinitionsFileError: as `pipeline_options`; or an option that cannot be meant, with its pipeline.
    """
    built = []
    for number, options in enumerate(pipeline_options(path).values()):
        try:
            built.append(pipeline_definitions(PipelineOptions.of(options)))
        except ValueError as exc:
            raise DefinitionsFileError(f"{Path(path).absolute()}, pipeline {number + 1}: {exc}") from exc
    return dg.Definitions.merge(*built) if built else dg.Definitions()


def pipeline_options(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The options of every pipeline in a YAML file, by its name, as `build_prediction_pipeline` takes them.

    Raises:
        DefinitionsFileError: no file, no YAML, an unknown key, an unset variable, or two pipelines of one name or
            one output.
    """
    where = Path(path).absolute()
    try:
        content = yaml.safe_load(where.read_text(encoding="utf-8"))
    except OSError as exc:
        raise DefinitionsFileError(
            f"cannot read {where}: {exc.strerror}. Remedy: set {DEFS_VARIABLE} to your pipelines' YAML file"
        ) from exc
    except yaml.YAMLError as exc:
        raise DefinitionsFileError(f"{where} is not YAML: {exc}") from exc
    pipelines = content.get("pipelines") if isinstance(content, dict) else None
    if not isinstance(pipelines, list) or set(content) != {"pipelines"}:
        raise DefinitionsFileError(f"{where}: expected one key, pipelines, with a list of pipelines below it")
    home = Path(os.environ.get(HOME_VARIABLE) or where.parent).absolute()
    options_by_name: dict[str, dict[str, Any]] = {}
    outputs: dict[tuple[Any, Any], str] = {}
    for number, options in enumerate(pipelines):
        place = f"{where}, pipeline {number + 1}"
        if not isinstance(options, dict) or not isinstance(options.get("name"), str):
            raise DefinitionsFileError(f"{place}: expected a mapping with a name")
        if options["name"] in options_by_name:
            raise DefinitionsFileError(f"{place}: the name {options['name']!r} is taken already")
        resolved = resolve_options(options, home=home, where=place)
        taken = outputs.setdefault(_output_of(resolved), options["name"])
        if taken != options["name"]:
            # Each would take the other's attempts for its own.
            raise DefinitionsFileError(f"{place}: {taken!r} has the same output and folder. Remedy: give each its own")
        options_by_name[options["name"]] = resolved
    return options_by_name


def _output_of(options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Where a pipeline writes: equal for every spelling of one place that a text can tell. The folder itself says
    whose it is (`j2v_dagster.attempts.owner`), so that the others are refused when they run."""
    output, folder = options.get("output"), options.get("folder", ShardSource.folder)
    if isinstance(output, str):
        output = canonical(output)
    return output, output_template(folder) if isinstance(folder, str) else folder


def resolve_options(options: Mapping[str, Any], *, home: Path, where: str) -> dict[str, Any]:
    """Plain values as `build_prediction_pipeline` takes them: variables filled in, paths made absolute.

    Raises:
        DefinitionsFileError: an unknown key or an unset variable without a default; names ``where``.
    """
    if refusal := unknown_options(options):
        raise DefinitionsFileError(f"{where}: {refusal}")
    resolved: dict[str, Any] = _fill(dict(options), where)
    for key in (option.name for option in known_options() if option.unit == "path"):
        if isinstance(resolved.get(key), str):
            resolved[key] = absolute(resolved[key], home, links=False)
    warehouse = resolved.get("warehouse")
    if isinstance(warehouse, str):
        resolved["warehouse"] = absolute(warehouse, home, links=False)
    elif isinstance(warehouse, dict):
        paths = {key: warehouse[key] for key in ("path", "location") if isinstance(warehouse.get(key), str)}
        resolved["warehouse"] = warehouse | {key: absolute(path, home, links=False) for key, path in paths.items()}
    return resolved


def _fill(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, where) for item in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        name, default = match.groups()
        content = os.environ.get(name) or default
        if content is None:
            raise DefinitionsFileError(f"{where}: environment variable {name} is not set and has no default")
        return content

    return _VARIABLE.sub(variable, value)


@dg.definitions
def defs() -> dg.Definitions:
    """The pipelines of ``J2V_DEFS``, each run in one process: a partition's steps follow one another anyway, and a new
    process for each would cost seconds. Read when Dagster asks, not when this module is imported."""
    return dg.Definitions.merge(
        pipelines_from_yaml(os.environ.get(DEFS_VARIABLE) or DEMO_DEFS),
        dg.Definitions(executor=dg.in_process_executor),
    )
