"""The commands ``certify``, ``check-certificate`` and ``explain``. Imports neither torch nor dagster before it must."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from j2v_dagster.cli.verify import current_attempt


def add_inspection_commands(commands: Any) -> None:
    """Add the three commands to the subparsers of ``j2v-dagster``."""
    certify = commands.add_parser("certify", help="write a certificate: one small JSON that binds every prediction")
    certify.add_argument("path", help="an attempt folder, or a partition folder with _current.json")
    certify.add_argument("--output", metavar="FILE", help="where to write it; default: PATH/_certificate.json")
    certify.add_argument("--proof", metavar="FILE", help="also write the proof of one row, named by --file and --row")
    _add_row(certify)
    certify.set_defaults(run=_reporting(run_certify))

    check = commands.add_parser(
        "check-certificate",
        help="compare a folder, or a single row, with its certificate; exit status 0 if it holds, 1 if not",
    )
    check.add_argument("certificate", help="what `certify` wrote")
    check.add_argument("path", nargs="?", help="the folder; not needed with --proof")
    check.add_argument("--proof", metavar="FILE", help="check one row by its proof, without the folder")
    check.add_argument("--row-json", metavar="FILE", help="that row's values, instead of those in the proof")
    _add_row(check)
    check.set_defaults(run=_reporting(run_check_certificate))

    explain = commands.add_parser("explain", help="one row: source, stored and replayed prediction, and who wrote it")
    explain.add_argument("path", help="an attempt folder, or a partition folder with _current.json")
    explain.add_argument("--inputs", metavar="ROOT", help="where the input files are now; default: the manifest's root")
    explain.add_argument("--model", metavar="CKPT", help="checkpoint; without it, nothing is predicted again")
    explain.add_argument(
        "--trust",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="modules whose processors and field types may be imported",
    )
    _add_row(explain, required=True)
    explain.set_defaults(run=_reporting(run_explain))


def _add_row(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument("--file", required=required, help="input file of the row, relative to the inputs' root")
    parser.add_argument("--row", type=int, required=required, help="row in that file, from 0")
    parser.add_argument(
        "--part", type=int, default=0, help="which of the rows that a preprocessor made of it; default: 0"
    )


def run_certify(options: argparse.Namespace) -> int:
    """Write the certificate, and a row's proof if one is named."""
    from json2vec.verify.certificate import CERTIFICATE_NAME, certify

    row = _row(options)
    if (row is None) != (options.proof is None):
        return _usage("certify: --proof, --file and --row belong together")
    path = current_attempt(options.path)
    if "://" in path and options.output is None:
        return _usage("certify: a certificate of a folder in an object store needs --output FILE")
    certificate, proof = certify(path, row=row)
    target = Path(options.output or Path(path, CERTIFICATE_NAME))
    target.write_bytes(certificate.dumps())
    print(f"{target}: {certificate.rows} rows, root {certificate.root}")
    if proof is not None:
        Path(options.proof).write_bytes(proof.dumps())
        print(f"{options.proof}: proof of {row}")
    return 0


def run_check_certificate(options: argparse.Namespace) -> int:
    """Say whether the certificate holds; 0 if it does, 1 if not."""
    from json2vec.verify.certificate import Certificate, Proof, check_certificate, check_proof

    if (options.path is None) == (options.proof is None):
        return _usage("check-certificate: pass a folder or --proof, one of the two")
    certificate, row = Certificate.read(options.certificate), _row(options)
    if options.proof is not None:
        proof = Proof.read(options.proof)
        values = json.loads(Path(options.row_json).read_bytes()) if options.row_json else None
        problems, what = (
            check_proof(certificate, proof, values),
            f"row {proof.source.get('row')} of {proof.source.get('file')}",
        )
    else:
        problems = check_certificate(certificate, current_attempt(options.path), row=row)
        what = f"{certificate.rows} rows" + (f", {row} among them" if row else "")
    for problem in problems:
        print(f"FAILED  {problem}", file=sys.stderr)
    if not problems:
        print(
            f"ok  {what}: root {certificate.root}, model {certificate.model[:16]}..., "
            f"snapshot {certificate.snapshot[:16]}..."
        )
    return 1 if problems else 0


def run_explain(options: argparse.Namespace) -> int:
    """Print one row's story; 1 if something about it is wrong."""
    from json2vec.verify.explain import explain

    story = explain(
        current_attempt(options.path), _row(options), inputs=options.inputs, model=options.model,
        trusted_modules=options.trust,
    )  # fmt: skip
    print(story.text())
    return 0 if story.ok else 1


def _row(options: argparse.Namespace) -> Any:
    from json2vec.verify.certificate import RowName

    if options.file is None and options.row is None:
        return None
    if options.file is None or options.row is None:
        raise ValueError("--file and --row belong together: both name the row")
    return RowName(options.file, options.row, options.part)


def _usage(message: str) -> int:
    print(f"usage error: {message}. See j2v-dagster COMMAND --help", file=sys.stderr)
    return 2


def _reporting(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """``run`` with expected errors as one line instead of a traceback."""

    def wrapped(options: argparse.Namespace) -> int:
        from json2vec.errors import Json2VecError

        try:
            return run(options)
        except (Json2VecError, OSError, ValueError) as exc:
            print(f"error: {exc}", file=sys.stderr)
            return 1

    return wrapped
