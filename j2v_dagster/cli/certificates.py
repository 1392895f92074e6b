"""The commands ``certify``, ``check-certificate`` and ``explain``. Imports neither torch nor dagster before it must."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from j2v_dagster.cli.console import Answer, reporting
from j2v_dagster.cli.parameters import Command, Several
from j2v_dagster.cli.verify import current_attempt

if TYPE_CHECKING:
    from json2vec.verify.certificate import RowName

ROW = "The row: file, row (from 0) and part; null where none was named."


def row_options(*, required: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--file``, ``--row`` and ``--part``, which name one row."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        part = click.option(
            "--part", type=click.IntRange(min=0), default=0, show_default=True, metavar="NUMBER",
            help="Which of the rows that a preprocessor made of it, counted from 0.",
        )  # fmt: skip
        row = click.option(
            "--row", type=click.IntRange(min=0), required=required, metavar="NUMBER",
            help="Row in that file, counted from 0.",
        )  # fmt: skip
        file = click.option(
            "--file", required=required, metavar="FILE", help="Input file of the row, relative to the inputs' root."
        )
        return file(row(part(command)))

    return add


@click.command(cls=Command)
@click.argument("path")
@click.option(
    "--output", metavar="FILE",
    help="Local file to write the certificate to.  [default: _certificate.json in the folder itself]",
)  # fmt: skip
@click.option("--proof", metavar="FILE", help="Local file to write the proof of one row to, named by --file and --row.")
@row_options()
@reporting(
    {
        "certificate": "The file that was written.",
        "rows": "How many output rows it covers.",
        "root": "Root of the Merkle tree over them, hex.",
        "proof": "The file with the row's proof; null where none was asked for.",
        "row": ROW,
    }
)
def certify(path: str, output: str | None, proof: str | None, file: str | None, row: int | None, part: int) -> Answer:
    """Write a certificate: one small JSON that binds every prediction.

    PATH is an attempt folder, or a partition folder with _current.json; a local path or s3://.

    \b
    Examples:
      j2v-dagster certify data/predictions/orders/dt=2026-01-31
      j2v-dagster certify ATTEMPT --proof proof.json --file part-0.parquet --row 17
    """
    from json2vec.storage.opening import open_store
    from json2vec.verify import certificate as certificates

    name = _row_name(file, row, part)
    if (name is None) != (proof is None):
        raise click.UsageError("--proof, --file and --row belong together.")
    folder = open_store(current_attempt(path))
    certificate, row_proof = certificates.certify(folder, row=name)
    if output is None:
        target = folder.uri(certificates.CERTIFICATE_NAME)
        folder.write(certificates.CERTIFICATE_NAME, certificate.dumps())
    else:
        target = output
        Path(target).write_bytes(certificate.dumps())
    lines = [f"{target}: {certificate.rows} rows, root {certificate.root}"]
    if row_proof is not None and proof is not None:
        Path(proof).write_bytes(row_proof.dumps())
        lines.append(f"{proof}: proof of {name}")
    document = {
        "certificate": target,
        "rows": certificate.rows,
        "root": certificate.root,
        "proof": proof,
        "row": _plain(name),
    }
    return Answer("\n".join(lines), document)


@click.command("check-certificate", cls=Command)
@click.argument("certificate")
@click.argument("path", required=False)
@click.option("--proof", metavar="FILE", help="Proof of one row, to check it without the folder.")
@click.option("--row-json", metavar="FILE", help="That row's values, to check them instead of those in the proof.")
@row_options()
@reporting(
    {
        "holds": "Whether folder or row are what was certified.",
        "problems": "What differs, a sentence each.",
        "rows": "How many output rows the certificate covers.",
        "root": "Root of the Merkle tree over them, hex.",
        "model": "Fingerprint of the model that predicted, hex.",
        "snapshot": "Digest of the snapshot of the inputs, hex.",
        "row": ROW,
    },
    failed={"holds": False},
)
def check_certificate(
    certificate: str,
    path: str | None,
    proof: str | None,
    row_json: str | None,
    file: str | None,
    row: int | None,
    part: int,
) -> Answer:
    """Compare a folder, or a single row, with its certificate.

    CERTIFICATE is what certify wrote. PATH is the folder; it is left out where --proof is given.

    \b
    Examples:
      j2v-dagster check-certificate certificate.json data/predictions/orders/dt=2026-01-31
      j2v-dagster check-certificate certificate.json --proof proof.json

    Exit status: 0 if the certificate holds, 1 if not.
    """
    from json2vec.verify import certificate as certificates

    if (path is None) == (proof is None):
        raise click.UsageError("Pass a folder or --proof, one of the two.")
    name = _row_name(file, row, part)
    certified = certificates.Certificate.read(certificate)
    if proof is not None:
        row_proof = certificates.Proof.read(proof)
        problems = certificates.check_proof(certified, row_proof, _read_row(row_json) if row_json else None)
        named = {key: row_proof.source.get(key) for key in ("file", "row", "part")}
        subject = f"row {named['row']} of {named['file']}"
    else:
        problems = certificates.check_certificate(certified, current_attempt(str(path)), row=name)
        named = _plain(name)
        subject = f"{certified.rows} rows" + (f", {name} among them" if name else "")
    text = (
        f"ok  {subject}: root {certified.root}, model {certified.model[:16]}..., snapshot {certified.snapshot[:16]}..."
    )
    document = {
        "holds": not problems,
        "problems": problems,
        "rows": certified.rows,
        "root": certified.root,
        "model": certified.model,
        "snapshot": certified.snapshot,
        "row": named,
    }
    failures = tuple(f"FAILED  {problem}" for problem in problems)
    return Answer("" if problems else text, document, not problems, failures)


@click.command(cls=Command)
@click.argument("path")
@click.option(
    "--inputs", metavar="ROOT", help="Folder or URI of the input files now.  [default: the root in the manifest]"
)
@click.option("--model", metavar="CKPT", help="Checkpoint that predicted; without it, nothing is predicted again.")
@click.option(
    "--trust", cls=Several, metavar="MODULE...",
    help="Modules whose processors and field types may be imported, several after one flag or each after its own.",
)  # fmt: skip
@row_options(required=True)
@reporting(
    {
        "ok": "Whether the row is there once, and as source and replay have it.",
        "title": "The row and its folder, in words.",
        "row": ROW,
        "facts": "A list: name and value, both text; a value that begins with WRONG is why ok is false.",
        "inputs": "A list, one entry a column: name, source (the value now), stored and same; values are text of at "
        "most some 60 characters.",
        "predictions": "A list, one entry a leaf: name, stored, predicted_again and same; likewise.",
    },
    failed={"ok": False},
)
def explain(
    path: str, inputs: str | None, model: str | None, trust: tuple[str, ...], file: str, row: int, part: int
) -> Answer:
    """Tell one row's story: source, stored and replayed prediction, and who wrote it.

    PATH is an attempt folder, or a partition folder with _current.json; a local path or s3://.

    \b
    Example:
      j2v-dagster explain data/predictions/orders/dt=2026-01-31 \\
          --file part-0.parquet --row 17 --model model.ckpt

    Exit status: 0 if nothing about the row is wrong, 1 if something is.
    """
    from json2vec.verify import explain as explaining
    from json2vec.verify.certificate import RowName

    name = RowName(file, row, part)
    story = explaining.explain(current_attempt(path), name, inputs=inputs, model=model, trusted_modules=trust)
    document = {
        "ok": bool(story.ok),
        "title": story.title,
        "row": _plain(name),
        "facts": [{"name": fact, "value": value} for fact, value in story.facts],
        "inputs": [
            {"name": column, "source": now, "stored": stored, "same": bool(same)}
            for column, now, stored, same in story.inputs
        ],
        "predictions": [
            {"name": leaf, "stored": stored, "predicted_again": again, "same": bool(same)}
            for leaf, stored, again, same in story.predictions
        ],
    }
    return Answer(story.text(), document, bool(story.ok))


def _row_name(file: str | None, row: int | None, part: int) -> RowName | None:
    from json2vec.verify.certificate import RowName

    if file is None and row is None:
        return None
    if file is None or row is None:
        raise click.UsageError("--file and --row belong together: both name the row.")
    return RowName(file, row, part)


def _plain(row: RowName | None) -> dict[str, Any] | None:
    return None if row is None else {"file": row.file, "row": row.row, "part": row.part}


def _read_row(path: str) -> dict[str, Any]:
    """A row's values from a JSON file."""
    try:
        values = json.loads(Path(path).read_bytes())
    except ValueError as exc:
        raise ValueError(f"{path} is no JSON: {exc}. Remedy: pass an object, as a proof has it") from exc
    if not isinstance(values, dict):
        raise ValueError(
            f"{path}: expected an object with source, predictions, inputs or some of them; got a "
            f"{type(values).__name__}. Remedy: take these keys of a proof"
        )
    return values
