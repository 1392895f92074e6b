"""The commands ``estimate`` and ``init``. Imports neither torch nor dagster before it must."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def add_project_commands(commands: Any) -> None:
    """Add the two commands to the subparsers of ``j2v-dagster``."""
    estimate = commands.add_parser("estimate", help="what partitions will take: rows, seconds and bytes")
    estimate.add_argument("pipelines", nargs="?", metavar="PIPELINES_YAML", help="the file that workspace.yaml serves")
    estimate.add_argument("--pipeline", metavar="NAME", help="which of its pipelines; not needed where there is one")
    estimate.add_argument("--partition", nargs="+", required=True, metavar="KEY", help="partitions, summed up")
    estimate.add_argument("--inputs", metavar="ROOT", help="instead of a YAML file, with --output")
    estimate.add_argument("--output", metavar="ROOT", help="the pipeline's output, whose past attempts tell the rate")
    estimate.add_argument("--suffix", default="parquet", help="of the shards, with --inputs (default: parquet)")
    estimate.add_argument("--folder", default="dt={partition}", help="of a partition, with --inputs")
    estimate.add_argument("--ranks", type=int, default=None, help="processes (default: the pipeline's, else 1)")
    estimate.add_argument("--json", action="store_true", help="print it as JSON")
    estimate.set_defaults(run=run_estimate)

    init = commands.add_parser("init", help="write a project: pipelines.yaml and what Dagster needs to serve it")
    init.add_argument("folder", help="where; files that are there are never overwritten")
    init.add_argument("--name", help="the pipeline's name (default: the folder's)")
    init.add_argument("--inputs", metavar="ROOT", help="root of the shards; looked at, to propose the options")
    init.add_argument("--suffix", help="of the shards (default: the most frequent one)")
    init.add_argument("--checkpoint", metavar="CKPT", help="the model, to propose the table's columns")
    init.set_defaults(run=run_init)


def run_estimate(options: argparse.Namespace) -> int:
    """Print the estimate; 0, or 1 where the partitions or the pipeline cannot be read."""
    from j2v_dagster.attempts.estimate import Conditions, current_snapshot, estimate
    from j2v_dagster.shards.source import ShardSource
    from json2vec.errors import Json2VecError

    try:
        chosen = _options(options)
        source = ShardSource(
            inputs=chosen["inputs"],
            suffix=chosen.get("suffix", "parquet"),
            folder=chosen.get("folder", "dt={partition}"),
            storage_options=chosen.get("storage_options"),
        )
        found = estimate(
            [current_snapshot(source, chosen["output"], key) for key in options.partition],
            chosen["output"],
            conditions=Conditions(
                checkpoint_sha256=_sha256(chosen.get("checkpoint")),
                accelerator=chosen.get("accelerator", "cpu"),
                precision=chosen.get("precision", "32-true"),
                batch_size=chosen.get("batch_size"),
                threads=chosen.get("threads"),
                world_size=options.ranks or chosen.get("ranks", 1),
            ),
            folder=source.folder,
            storage_options=source.storage_options,
        )
    except (Json2VecError, ValueError, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    print(json.dumps(found.to_json(), indent=2) if options.json else found.summary())
    return 0


def _options(options: argparse.Namespace) -> dict[str, Any]:
    """The chosen pipeline's options, from the YAML file or from the command line."""
    if options.pipelines is None:
        if not (options.inputs and options.output):
            raise ValueError("expected a YAML file of pipelines, or --inputs and --output")
        return {name: getattr(options, name) for name in ("inputs", "output", "suffix", "folder")}
    from j2v_dagster.definitions import pipeline_options

    known = pipeline_options(options.pipelines)
    name = options.pipeline or (next(iter(known)) if len(known) == 1 else None)
    if name not in known:
        raise ValueError(f"{options.pipelines} has {sorted(known)}; got {name!r}. Remedy: --pipeline NAME")
    return known[name]


def _sha256(checkpoint: str | None) -> str | None:
    """Of a local checkpoint that exists; another one's past attempts are not told from other models'."""
    from pathlib import Path

    from json2vec.storage.local import file_sha256

    return file_sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else None


def run_init(options: argparse.Namespace) -> int:
    """Write the project and say what was written and found."""
    from j2v_dagster.cli.init_project import init_project
    from json2vec.errors import Json2VecError

    try:
        files, found = init_project(
            options.folder,
            name=options.name,
            inputs=options.inputs,
            suffix=options.suffix,
            checkpoint=options.checkpoint,
        )
    except (Json2VecError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    for path in files:
        print(f"wrote {path}")
    if options.inputs:
        partitions = ", ".join(f"{name}: {value}" for name, value in found.partitions.items())
        print(f"found {found.suffix} shards in folders like {found.folder}; partitions {{{partitions}}}")
    for remark in found.remarks:
        print(f"please look: {remark}")
    print(f"next: read {files[0]}, then see {files[4]}")
    return 0
