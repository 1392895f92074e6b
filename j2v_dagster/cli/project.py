"""The commands ``estimate`` and ``init``. Imports neither torch nor dagster before it must."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from j2v_dagster.cli.console import Answer, reporting
from j2v_dagster.cli.parameters import SUFFIXES, Command, Several

if TYPE_CHECKING:
    from j2v_dagster.options import PipelineOptions


@click.command(cls=Command)
@click.argument("pipelines", required=False, metavar="[PIPELINES_YAML]")
@click.option("--pipeline", metavar="NAME", help="Which of the file's pipelines.  [default: the only one]")
@click.option(
    "--partition", cls=Several, required=True, metavar="KEY...",
    help="Keys of the partitions, several after one flag or each after its own; what they take is summed up.",
)  # fmt: skip
@click.option("--inputs", metavar="ROOT", help="Folder or URI of all shards, instead of a YAML file; with --output.")
@click.option(
    "--output", metavar="ROOT", help="The pipeline's output, whose past attempts tell the rate; with --inputs."
)
@click.option(
    "--suffix", type=SUFFIXES, default="parquet", show_default=True,
    help="File format of the shards; with --inputs.",
)  # fmt: skip
@click.option(
    "--folder", default="dt={partition}", show_default=True, metavar="TEMPLATE",
    help="Folder of a partition below the inputs; with --inputs.",
)  # fmt: skip
@click.option(
    "--ranks", type=click.IntRange(min=1), metavar="COUNT",
    help="How many processes.  [default: the pipeline's, else 1]",
)  # fmt: skip
@reporting(
    {
        "partitions": "How many partitions.",
        "rows": "Their input rows.",
        "shards": "Their input files.",
        "input_bytes": "Bytes of these files.",
        "ranks": "How many processes.",
        "rank_rows": "The largest share of a rank in any partition, in rows.",
        "seconds": "From an attempt's beginning to its last rank's end, summed up; null without a past rate.",
        "seconds_low": "The same at the 90th percentile of past rates.",
        "seconds_high": "The same at the 10th percentile of past rates.",
        "output_bytes": "Bytes of the rank files.",
        "free_bytes": "Bytes that are free on the output's disk; null in an object store.",
        "basis": "Where the numbers come from, in words.",
    }
)
def estimate(
    pipelines: str | None,
    pipeline: str | None,
    partition: tuple[str, ...],
    inputs: str | None,
    output: str | None,
    suffix: str,
    folder: str,
    ranks: int | None,
) -> Answer:
    """Tell what partitions will take: rows, seconds and bytes.

    PIPELINES_YAML is the file that workspace.yaml serves.

    \b
    Example:
      j2v-dagster estimate pipelines.yaml --partition 2026-01-31 2026-02-01
    """
    from j2v_dagster.attempts import estimate as estimating
    from j2v_dagster.shards.source import ShardSource
    from json2vec.rank_files.settings import PredictSettings
    from json2vec.reading.options import DEFAULT

    settings, checkpoint, storage_options, reading = PredictSettings(), None, None, DEFAULT
    if pipelines is not None:
        chosen = _chosen(pipelines, pipeline)
        inputs, output, suffix, folder = chosen.inputs, chosen.output, chosen.suffix, chosen.folder
        settings, checkpoint, storage_options = chosen.settings(), chosen.checkpoint, chosen.storage_options
        ranks, reading = ranks or chosen.ranks, chosen.reading()
    if not (inputs and output):
        raise ValueError("expected a YAML file of pipelines, or --inputs and --output")
    source = ShardSource(
        inputs=inputs, suffix=suffix, folder=folder, storage_options=dict(storage_options) if storage_options else None,
        read_options=reading,
    )
    estimated = estimating.estimate(
        [estimating.current_snapshot(source, output, key) for key in partition],
        output,
        conditions=estimating.Conditions.of(settings, checkpoint_sha256=_sha256(checkpoint), world_size=ranks or 1),
        folder=source.folder,
        storage_options=source.storage_options,
    )
    return Answer(estimated.summary(), estimated.to_json())


def _chosen(pipelines: str, name: str | None) -> PipelineOptions:
    """The options of one pipeline of a YAML file.

    Raises:
        ValueError: there is none of that name, or options that cannot be meant.
    """
    from j2v_dagster.definitions import pipeline_options
    from j2v_dagster.options import PipelineOptions

    options_by_name = pipeline_options(pipelines)
    name = name or (next(iter(options_by_name)) if len(options_by_name) == 1 else None)
    if name not in options_by_name:
        raise ValueError(f"{pipelines} has {sorted(options_by_name)}; got {name!r}. Remedy: --pipeline NAME")
    try:
        return PipelineOptions.of(options_by_name[name])
    except ValueError as exc:
        raise ValueError(f"{pipelines}: {exc}") from exc


def _sha256(checkpoint: str | None) -> str | None:
    """Of a local checkpoint that exists; another one's past attempts are not told from other models'."""
    from pathlib import Path

    from json2vec.storage.local import file_sha256

    return file_sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else None


@click.command(cls=Command)
@click.argument("folder")
@click.option("--name", metavar="NAME", help="The pipeline's name.  [default: the folder's]")
@click.option(
    "--inputs", metavar="ROOT", help="Folder or URI of all shards; a look at it proposes the pipeline's options."
)
@click.option("--suffix", type=SUFFIXES, help="File format of the shards.  [default: the most frequent one]")
@click.option("--checkpoint", metavar="CKPT", help="The model, whose targets become columns of the table.")
@reporting(
    {
        "files": "The six files that were written.",
        "found": "What a look at the inputs proposes: suffix, folder (a template) and partitions (options of the "
        "definition, as text or a list of at most 50 keys); null without --inputs.",
        "remarks": "What could not be told, a sentence each.",
    }
)
def init(folder: str, name: str | None, inputs: str | None, suffix: str | None, checkpoint: str | None) -> Answer:
    """Write a project: pipelines.yaml and what Dagster needs to serve it.

    FOLDER is made where it is missing. Files that are there are never overwritten.

    \b
    Example:
      j2v-dagster init orders --inputs data/orders --checkpoint model.ckpt
    """
    from j2v_dagster.cli.init_project import init_project

    files, inspected = init_project(folder, name=name, inputs=inputs, suffix=suffix, checkpoint=checkpoint)
    lines = [f"wrote {path}" for path in files]
    if inputs:
        partitions = ", ".join(f"{key}: {value}" for key, value in inspected.partitions.items())
        lines.append(f"found {inspected.suffix} shards in folders like {inspected.folder}; partitions {{{partitions}}}")
    lines += [f"please look: {remark}" for remark in inspected.remarks]
    lines.append(f"next: read {files[0]}, then see {files[4]}")
    proposed = {
        "suffix": inspected.suffix,
        "folder": inspected.folder,
        "partitions": {
            key: list(value) if isinstance(value, list | tuple) else str(value)
            for key, value in inspected.partitions.items()
        },
    }
    document = {
        "files": [str(path) for path in files],
        "found": proposed if inputs else None,
        "remarks": list(inspected.remarks),
    }
    return Answer("\n".join(lines), document)
