"""``j2v-dagster init``: a folder that Dagster can serve, with what a look at the shards and the checkpoint can tell.

The look is short: the first `LOOK` files of the listing, and the schema of one of them. What it proposes is text for
people to read and correct; nothing here is needed to run a pipeline.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from json2vec.enums import Suffix
from json2vec.errors import Json2VecError, SchemaError
from json2vec.reading.formats import ends_with
from json2vec.storage.opening import open_store

if TYPE_CHECKING:
    import pyarrow as pa

LOOK = 10_000
_STATIC_KEYS = 50
_COLUMNS = 20
_DAY, _HOUR = re.compile(r"\d{4}-\d{2}-\d{2}"), re.compile(r"\d{4}-\d{2}-\d{2}-\d{2}:\d{2}")


class InitError(Json2VecError):
    """A project that cannot be written; nothing was."""


@dataclass(frozen=True)
class Inspected:
    """What the inputs look like.

    Attributes:
        suffix: the file format of the shards.
        folder: the template of a partition's folder.
        partitions: the options of the partitions definition, by name.
        schema: the Arrow schema of a single shard; None where none was read.
        remarks: what could not be told, a sentence each, for people.
    """

    suffix: str = "parquet"
    folder: str = "dt={partition}"
    partitions: Mapping[str, Any] = field(default_factory=lambda: {"kind": "dynamic"})
    schema: pa.Schema | None = None
    remarks: tuple[str, ...] = ()


def look(inputs: str, *, suffix: str | None = None, storage_options: Mapping[str, Any] | None = None) -> Inspected:
    """Guess suffix, folder template, partitions and schema from a listing of ``inputs``.

    Raises:
        json2vec.errors.Json2VecError: the root cannot be listed, or a shard cannot be read.
    """
    from json2vec.reading.snapshot import snapshot_files

    store = open_store(inputs, dict(storage_options or {}))
    paths = [entry.path for entry in islice(store.list(), LOOK)]
    paths = [path for path in paths if not any(part[0] in "._" for part in path.split("/"))]
    counted = Counter(str(candidate) for path in paths for candidate in Suffix if ends_with(path, candidate))
    if suffix is None and not counted:
        return Inspected(remarks=(f"no shard was found below {inputs}: check inputs, suffix and folder",))
    shard_suffix = Suffix(suffix or counted.most_common(1)[0][0])
    shards = [path for path in paths if ends_with(path, shard_suffix)]
    if not shards:
        return Inspected(suffix=str(shard_suffix), remarks=(f"no {shard_suffix} file was found below {inputs}",))
    schema = snapshot_files(store, shard_suffix, paths=[shards[0]]).schema
    folders = sorted({path.rpartition("/")[0] for path in shards if "/" in path})
    if not folders:
        remark = f"the shards lie directly in {inputs}: a partition is a folder, so move them into one each"
        return Inspected(suffix=str(shard_suffix), schema=schema, remarks=(remark,))
    template, keys = _template(folders)
    return Inspected(str(shard_suffix), template, _partitions(keys), schema)


def _template(folders: Sequence[str]) -> tuple[str, list[str]]:
    """The template that fits the folders, and their keys."""
    parts = [folder.split("/") for folder in folders]
    # What all share above the last level belongs to the template; where they differ earlier, that level is the key.
    depth = 0
    while depth < min(map(len, parts)) - 1 and len({levels[depth] for levels in parts}) == 1:
        depth += 1
    names = sorted({levels[depth] for levels in parts})
    before = {name.partition("=")[0] for name in names if "=" in name}
    prefix = f"{before.pop()}=" if len(before) == 1 and all("=" in name for name in names) else ""
    return "/".join([*parts[0][:depth], f"{prefix}{{partition}}"]), [name[len(prefix) :] for name in names]


def _partitions(keys: Sequence[str]) -> dict[str, Any]:
    try:
        if all(_DAY.fullmatch(key) for key in keys):
            return {"kind": "daily", "start": min(date.fromisoformat(key) for key in keys)}
    except ValueError:
        pass  # 2013-02-31 is no day: a name like another
    if all(_HOUR.fullmatch(key) for key in keys):
        return {"kind": "hourly", "start": min(keys)}
    return {"kind": "static", "keys": list(keys)} if len(keys) <= _STATIC_KEYS else {"kind": "dynamic"}


def propose_columns(schema: pa.Schema | None, targets: Mapping[str, str]) -> dict[str, str]:
    """Table columns: up to 20 flat columns of the shards, the targets' predictions, and where each row came from.

    Args:
        schema: the Arrow schema of the shards; None where it is not known.
        targets: the field type of each target, by its schema address.
    """
    import pyarrow as pa

    from j2v_dagster.steps.lineage import step

    columns: dict[str, str] = {}

    def add(name: str, path: str) -> None:
        taken = {column.casefold() for column in columns}
        while name.casefold() in taken:
            name = f"predicted_{name}"
        columns[name] = path

    flat = [
        column.name
        for column in schema or ()
        if not (pa.types.is_nested(column.type) or pa.types.is_null(column.type))
    ]
    for name in flat[:_COLUMNS]:
        add(name, step("inputs", name))
    for address, field_type in targets.items():
        leaf = address.rpartition("/")[2]
        content = f"{step('predictions', address)}.content"
        parts = _table_parts(field_type)
        if not parts:
            add(leaf, content)
        for index, part in enumerate(parts):
            add(f"{leaf}_{part}" if index else leaf, f"{content}.{part}")
    for name, path in (("source_file", "source.file"), ("source_row", "source.row"), ("attempt", "manifest.attempt")):
        add(name, path)
    return columns


def _table_parts(field_type: str) -> tuple[str, ...]:
    """The entries of a target's content that make columns. Imports torch, as reading the checkpoint did."""
    import json2vec.fields  # noqa: F401 - registers the field types
    from json2vec.fields.registry import FIELD_TYPES

    return FIELD_TYPES[field_type].table_parts if field_type in FIELD_TYPES else ()


def read_targets(checkpoint: str | os.PathLike[str]) -> dict[str, str]:
    """Type of each target by its address. Imports torch, which a checkpoint needs.

    Raises:
        json2vec.errors.Json2VecError: no checkpoint, or one with a field type that is not registered.
    """
    from json2vec.model.checkpoint import load
    from json2vec.schema.schema import Schema

    values = load(checkpoint)
    try:
        schema = Schema.from_dict(values["schema"])
    except (SchemaError, ValueError) as exc:
        raise InitError(
            f"{checkpoint}: its schema cannot be read here: {exc}. Remedy: leave --checkpoint out and write the "
            "columns by hand"
        ) from exc
    return {str(address): str(schema.leaves[address].type) for address in schema.target}


def init_project(
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    inputs: str | None = None,
    suffix: str | None = None,
    checkpoint: str | None = None,
) -> tuple[list[Path], Inspected]:
    """Write a project.

    Args:
        folder: made where it is missing; its name is the pipeline's unless ``name`` says another.
        inputs: root of all partitions; looked at when given.
        suffix: of the shards; default: the most frequent one.
        checkpoint: its targets become columns when given.

    Returns:
        the files that were written, and what the look found.

    Raises:
        InitError: a file that would be overwritten, or a name that no pipeline can have; nothing is written.
    """
    root = Path(folder).expanduser().absolute()
    name = name or re.sub(r"\W", "_", root.name, flags=re.ASCII)
    if not name.isidentifier():
        raise InitError(
            f"pipeline name {name!r}: expected letters, digits and underscores, beginning with no digit. Remedy: --name"
        )
    inspected = Inspected(suffix=suffix or "parquet") if inputs is None else look(inputs, suffix=suffix)
    targets = read_targets(checkpoint) if checkpoint is not None else {}
    files = _files(root, name=name, inspected=inspected, inputs=inputs, checkpoint=checkpoint, targets=targets)
    taken = [path for path in files if (root / path).exists()]
    if taken:
        raise InitError(f"{root} holds {', '.join(taken)} already; nothing was written. Remedy: choose another folder")
    root.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        (root / path).write_text(text, encoding="utf-8")
    return [root / path for path in files], inspected


def _files(
    root: Path,
    *,
    name: str,
    inspected: Inspected,
    inputs: str | None,
    checkpoint: str | None,
    targets: Mapping[str, str],
) -> dict[str, str]:
    from j2v_dagster.scaffold import EXAMPLES, pipeline_yaml
    from json2vec.storage.opening import relative

    columns = propose_columns(inspected.schema, targets)
    options: dict[str, Any] = {
        "name": name,
        "inputs": "data/shards" if inputs is None else relative(inputs, root),
        "suffix": inspected.suffix,
        "folder": inspected.folder,
        "partitions": dict(inspected.partitions),
        "checkpoint": "model.ckpt" if checkpoint is None else relative(checkpoint, root),
        "output": f"data/predictions/{name}",
        "warehouse": "data/warehouse.duckdb",
        "table": name,
        "columns": columns,
    }
    if "partition" in {column.casefold() for column in columns}:
        options["partition_column"] = "partition_key"
    is_proposed = {"inputs": inspected.schema is not None, "predictions": bool(targets)}
    examples = [
        example
        for example in EXAMPLES
        if not any(proposed for source, proposed in is_proposed.items() if source in example)
    ]
    body = pipeline_yaml(options, indent=4, examples=tuple(examples))
    remarks = "".join(f"# Please look: {remark}.\n" for remark in inspected.remarks)
    return {
        "pipelines.yaml": _PIPELINES.format(remarks=remarks, body=body.replace("    ", "  - ", 1)),
        "definitions.py": _DEFINITIONS,
        "workspace.yaml": _WORKSPACE,
        "dagster.yaml": (Path(__file__).parents[1] / "dagster.yaml").read_text(encoding="utf-8"),
        "README.md": _README.format(name=name),
        ".gitignore": _GITIGNORE,
    }


_PIPELINES = """\
{remarks}# Relative paths are relative to this file; ${{NAME}} and ${{NAME:-default}} are environment variables.
pipelines:
{body}"""
_DEFINITIONS = '''\
"""What workspace.yaml serves: the pipelines of pipelines.yaml, each run in one process."""

from pathlib import Path

import dagster as dg

from j2v_dagster import pipelines_from_yaml

defs = dg.Definitions.merge(
    pipelines_from_yaml(Path(__file__).with_name("pipelines.yaml")),
    dg.Definitions(executor=dg.in_process_executor),
)
'''
_WORKSPACE = """\
load_from:
  - python_file:
      relative_path: definitions.py
      location_name: pipelines
"""
_README = """\
# {name}

`pipelines.yaml` says where the shards, the model and the table are. Three commands, in this folder:

    DAGSTER_HOME=$PWD dagster dev -w workspace.yaml
    j2v-dagster estimate pipelines.yaml --pipeline {name} --partition KEY
    j2v-dagster verify data/predictions/{name}/FOLDER --model model.ckpt

The first serves the UI on http://127.0.0.1:3000: materialize a partition, or switch on the sensor `{name}_shards`. The
second says what a partition will take before it is run, the third proves one complete afterwards.
"""
_GITIGNORE = """\
data/
history/
logs/
schedules/
storage/
.logs_queue/
.nux/
.telemetry/
__pycache__/
"""
