"""``j2v-dagster adopt``. Imports dagster, through the attempts, only when it runs."""

from __future__ import annotations

import click

from j2v_dagster.cli.console import Answer, reporting
from j2v_dagster.cli.parameters import Command


@click.command(cls=Command)
@click.argument("root")
@click.argument("pipeline")
@click.option("--of", metavar="NAME", help="Hand over only what belongs to this pipeline.  [default: everything]")
@reporting(
    {
        "partitions": "How many partitions' folders belong to the pipeline now.",
        "before": "Whose they were: number of partitions by owner, in words.",
        "left_alone": "A list of the partitions that a run holds or that cannot be read, as text with the reason.",
    }
)
def adopt(root: str, pipeline: str, of: str | None) -> Answer:
    """Hand an output over to a pipeline, which goes on with what lies there.

    ROOT is the output folder; a local path or s3://. PIPELINE is the name of the pipeline that takes it over. It is
    needed after a pipeline got another name, other inputs or another table: until then it is refused, for what lies
    there might be another pipeline's.

    \b
    Example:
      j2v-dagster adopt data/predictions/orders orders-2
    """
    from j2v_dagster.attempts import owner

    done = owner.adopt(root, pipeline, of=of)
    lines = [
        f"{count} partitions of {words} belong to pipeline {pipeline!r} now" for words, count in done.before.items()
    ]
    document = {"partitions": done.partitions, "before": done.before, "left_alone": list(done.skipped)}
    text = "\n".join(lines or ["no partition was handed over"])
    return Answer(text, document, not done.skipped, tuple(f"left alone: {why}" for why in done.skipped))
