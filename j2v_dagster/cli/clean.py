"""``j2v-dagster clean``. Imports dagster, through the attempts, only when it runs."""

from __future__ import annotations

import click

from j2v_dagster.cli.console import MOST_LISTED, Answer, reporting
from j2v_dagster.cli.parameters import Command


@click.command(cls=Command)
@click.argument("root")
@click.option(
    "--older-than", type=float, required=True, metavar="DAYS",
    help="Days since the last write in an attempt; 0.5 is twelve hours.",
)  # fmt: skip
@click.option(
    "--pending-older-than", type=float, metavar="DAYS",
    help="The same for attempts that the next run would resume or that wait to be loaded.  [default: the larger of "
    "--older-than and 7]",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Tell what would go, and remove nothing.")
@reporting(
    {
        "dry_run": "Whether nothing was removed.",
        "attempts": "How many attempts were removed, or would be.",
        "bytes": "Bytes that the disk or bucket gets back.",
        "removed": f"A list of the first {MOST_LISTED:,}: path, state (in words), age_days, bytes.",
        "partitions_left_alone": "How many partitions were not looked into, because a run holds them or they cannot "
        "be read.",
        "left_alone": f"A list of the first {MOST_LISTED:,} of these, as text with the reason.",
    }
)
def clean(root: str, older_than: float, pending_older_than: float | None, dry_run: bool) -> Answer:
    """Remove attempts that are neither current, nor in use, nor recent.

    ROOT is the pipeline's output folder, or one partition's; a local path or s3://.

    \b
    Example:
      j2v-dagster clean data/predictions/orders --older-than 30 --dry-run
    """
    from j2v_dagster.attempts import clean as cleaning

    report = cleaning.clean(root, older_than_days=older_than, pending_days=pending_older_than, dry_run=dry_run)
    removed = [
        {"path": str(removal.path), "state": removal.state, "age_days": removal.age_days, "bytes": removal.bytes}
        for removal in report.removed[:MOST_LISTED]
    ]
    document = {
        "dry_run": report.dry_run,
        "attempts": len(report.removed),
        "bytes": report.bytes,
        "removed": removed,
        "partitions_left_alone": len(report.skipped),
        "left_alone": list(report.skipped[:MOST_LISTED]),
    }
    return Answer(report.summary(), document)
