"""``j2v-dagster verify``. Imports neither torch nor dagster before it must."""

from __future__ import annotations

import json

import click

from j2v_dagster.cli.console import Answer, reporting
from j2v_dagster.cli.parameters import Command, Several
from json2vec.errors import IncompletePredictions
from json2vec.verify.findings import FINDINGS, REQUIRED

WITHOUT_MODEL = ("files", "coverage", "inputs")
"""Findings that are proven without a model."""


@click.command(cls=Command)
@click.argument("path")
@click.option(
    "--inputs", metavar="ROOT", help="Folder or URI of the input files now.  [default: the root in the manifest]"
)
@click.option("--model", metavar="CKPT", help="Checkpoint that predicted; without it, replay is not proven.")
@click.option(
    "--require", cls=Several, type=click.Choice(FINDINGS), metavar="FINDING...",
    help=f"Findings that must be proven, several after one flag or each after its own: {', '.join(FINDINGS)}.  "
    f"[default: all but source; without --model {', '.join(WITHOUT_MODEL)}]",
)  # fmt: skip
@click.option(
    "--sample", type=click.IntRange(min=0), default=64, show_default=True, metavar="ROWS",
    help="How many rows are predicted again.",
)  # fmt: skip
@click.option(
    "--source-sample", type=click.IntRange(min=0), default=64, show_default=True, metavar="ROWS",
    help="How many rows are compared with what a second reader sees in the input files.",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["32-true", "bf16-mixed", "16-mixed"]), metavar="NAME",
    help="How it ought to have been predicted: 32-true, bf16-mixed or 16-mixed. Without it, replay is proven in "
    "float32 only.",
)  # fmt: skip
@reporting(
    {
        "path": "The attempt folder.",
        "rows": "How many output rows its manifest promises or, without a manifest, its files hold.",
        "passed": "Whether no finding failed and every required one is proven.",
        "seconds": "How long the verification took.",
        "require": "The findings that must be proven.",
        "findings": "A list of seven: name, passed (true, false, or null where it is not proven), expected, found, "
        "remedy, counts (numbers by name) and up to five examples.",
    },
    failed={"path": "", "passed": False},
)
def verify(
    path: str,
    inputs: str | None,
    model: str | None,
    require: tuple[str, ...],
    sample: int,
    source_sample: int,
    precision: str | None,
) -> Answer:
    """Prove a prediction folder complete and right.

    PATH is an attempt folder, or a partition folder with _current.json; a local path or s3://.

    \b
    Example:
      j2v-dagster verify data/predictions/orders/dt=2026-01-31 --model model.ckpt

    Exit status: 0 if the folder passed, 1 if not.
    """
    from json2vec.verify.verify import verify_predictions

    report = verify_predictions(
        current_attempt(path),
        inputs=inputs,
        model=model,
        require=require or (REQUIRED if model else WITHOUT_MODEL),
        sample=sample,
        source_sample=source_sample,
        settings=None if precision is None else {"precision": precision},
    )
    return Answer(report.summary(), report.to_json(), report.passed)


def current_attempt(path: str) -> str:
    """The attempt that a partition's ``_current.json`` points to; any other path or URI as it is.

    Raises:
        IncompletePredictions: the pointer names no attempt.
    """
    from json2vec.storage.opening import open_store

    store = open_store(path)
    for name in ("_manifest.json", "_current.json"):
        try:
            content = store.read(name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if name == "_manifest.json":
            return path
        try:
            pointer = json.loads(content)
        except ValueError:
            pointer = None
        if not isinstance(pointer, dict) or not isinstance(pointer.get("attempt"), str):
            raise IncompletePredictions(
                f"{store.uri(name)} names no attempt: expected an object with the text attempt, found "
                f"{content[:80]!r}. Remedy: pass an attempt folder, or load the partition again"
            )
        return store.uri(f"attempts/{pointer['attempt']}")
    return path
