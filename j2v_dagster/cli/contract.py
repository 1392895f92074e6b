"""The commands ``contract`` and ``profile``. Imports neither torch nor dagster before it must."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from j2v_dagster.cli.console import Answer, reporting
from j2v_dagster.cli.parameters import SUFFIXES, Command, Regex, Several

if TYPE_CHECKING:
    from json2vec.processors import Preprocessor


def shard_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name shards and how their rows are read."""
    options = (
        click.option("--inputs", required=True, metavar="ROOT", help="Folder or URI of the shards."),
        click.option(
            "--suffix", type=SUFFIXES, default="parquet", show_default=True, help="Their file format."
        ),
        click.option(
            "--match", type=Regex(), metavar="REGEX",
            help="Take only files whose full path this regular expression matches.",
        ),
        click.option("--preprocessor", metavar="MODULE:FUNCTION", help="What makes observations of rows."),
        click.option(
            "--trust", cls=Several, metavar="MODULE...",
            help="Modules that may be imported, several after one flag or each after its own.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command(cls=Command)
@shard_options
@click.option("--model", required=True, metavar="CKPT", help="Checkpoint whose training they are compared with.")
@click.option(
    "--sample", type=click.IntRange(min=0), metavar="ROWS",
    help="How many rows to read, over all shards; 0 compares the schemas alone.  [default: 4096]",
)  # fmt: skip
@reporting(
    {
        "kept": "Whether the contract is known and no breach is an error.",
        "known": "Whether the checkpoint holds a profile of its training data; without it nothing is compared.",
        "summary": "The outcome in one line.",
        "breaches": "A list, the worst first, a few for each column: severity (error, warning or info), column, kind, "
        "expected, found, examples, remedy and leaves, all text.",
    },
    failed={"kept": False},
)
def contract(
    inputs: str,
    suffix: str,
    match: re.Pattern[str] | None,
    preprocessor: str | None,
    trust: tuple[str, ...],
    model: str,
    sample: int | None,
) -> Answer:
    """Compare shards with what a checkpoint was trained on.

    \b
    Example:
      j2v-dagster contract --inputs data/orders --model model.ckpt

    Exit status: 0 if the shards keep the contract, 1 if not, or if the contract is not known.
    """
    from json2vec.contract import SAMPLE_ROWS, check_shards
    from json2vec.model.checkpoint import load
    from json2vec.reading.snapshot import snapshot_files
    from json2vec.storage.opening import open_store

    store = open_store(inputs)
    snapshot = snapshot_files(store, suffix, match=match)
    outcome = check_shards(
        load(model), snapshot, store, preprocessor=_preprocessor(preprocessor, trust), trusted_modules=trust,
        sample_rows=SAMPLE_ROWS if sample is None else sample,
    )  # fmt: skip
    is_known = outcome.profile is not None
    kept = is_known and not outcome.broken
    text = f"{'kept' if kept else 'BROKEN' if is_known else 'UNKNOWN'}  {outcome.summary()}"
    document = {
        "kept": kept,
        "known": is_known,
        "summary": outcome.summary(),
        "breaches": [breach.row() for breach in outcome.breaches],
    }
    return Answer(f"{text}\n{outcome.text()}" if outcome.breaches else text, document, kept)


@click.command(cls=Command)
@click.argument("checkpoint")
@shard_options
@click.option(
    "--output", metavar="CKPT",
    help="Write the checkpoint to this file.  [default: replace CHECKPOINT, in one step]",
)  # fmt: skip
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="ROWS",
    help="How many rows to read, over all shards.  [default: 65536]",
)  # fmt: skip
@reporting(
    {
        "checkpoint": "The file that was written.",
        "rows": "How many rows the profile is of.",
        "leaves": "How many leaves of the model it describes.",
    }
)
def profile(
    checkpoint: str,
    inputs: str,
    suffix: str,
    match: re.Pattern[str] | None,
    preprocessor: str | None,
    trust: tuple[str, ...],
    output: str | None,
    sample: int | None,
) -> Answer:
    """Add to a checkpoint the profile of the data that it was trained on.

    CHECKPOINT is a file that Model.save wrote. No prediction changes.

    \b
    Example:
      j2v-dagster profile model.ckpt --inputs data/train
    """
    from json2vec.model.checkpoint import described, load, save
    from json2vec.profile.sampling import PROFILE_ROWS, profile_rows
    from json2vec.reading.snapshot import snapshot_files
    from json2vec.storage.opening import open_store

    values = load(checkpoint)
    schema, vocabularies = described(values, trusted_modules=trust, where=checkpoint)
    store = open_store(inputs)
    snapshot = snapshot_files(store, suffix, match=match)
    row_profile = profile_rows(
        schema, vocabularies, snapshot, store, rows=PROFILE_ROWS if sample is None else sample,
        preprocessor=_preprocessor(preprocessor, trust),
    )  # fmt: skip
    target = save(output or checkpoint, values | {"profile": row_profile.to_plain()})
    document = {"checkpoint": str(target), "rows": row_profile.rows, "leaves": len(row_profile.leaves)}
    return Answer(f"{target}: profile of {row_profile.rows:,} rows, {len(row_profile.leaves)} leaves", document)


def _preprocessor(name: str | None, trusted: tuple[str, ...]) -> Preprocessor | None:
    from json2vec.processors import as_preprocessor, resolve

    return as_preprocessor(resolve(name, trusted)) if name else None
