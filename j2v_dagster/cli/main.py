"""``j2v-dagster``: begin a project, estimate, verify, explain, clean up, run the demo. Imports neither torch nor
dagster before it must."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from j2v_dagster.cli.certificates import add_inspection_commands
from j2v_dagster.cli.contract import add_contract_commands
from j2v_dagster.cli.project import add_project_commands
from j2v_dagster.cli.verify import FINDINGS, run_verify


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="j2v-dagster", description="Batch inference that proves it lost no row.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    verify = commands.add_parser(
        "verify", help="prove a prediction folder complete and right; exit status 0 if it is, 1 if not"
    )
    verify.add_argument("path", help="an attempt folder, or a partition folder with _current.json")
    verify.add_argument("--inputs", metavar="ROOT", help="where the input files are now; default: the manifest's root")
    verify.add_argument("--model", metavar="CKPT", help="checkpoint; without it, replay is not proven")
    verify.add_argument(
        "--require", nargs="+", choices=FINDINGS, metavar="FINDING",
        help=f"findings that must be proven: {', '.join(FINDINGS)}; default: all, but only those that need no model "
        "where --model is not given",
    )  # fmt: skip
    verify.add_argument("--sample", type=int, default=64, help="rows to predict again (default: 64)")
    verify.add_argument("--json", action="store_true", help="print the report as JSON")
    verify.set_defaults(run=run_verify)

    add_inspection_commands(commands)
    add_contract_commands(commands)
    add_project_commands(commands)

    clean = commands.add_parser("clean", help="remove attempts that are neither current, nor in use, nor recent")
    clean.add_argument("root", help="the pipeline's output folder, or one partition's")
    clean.add_argument("--older-than", type=float, required=True, metavar="DAYS", help="days since the last write")
    clean.add_argument(
        "--pending-older-than", type=float, metavar="DAYS",
        help="the same for attempts that the next run would resume or that wait to be loaded; default: the larger of "
        "--older-than and 7",
    )  # fmt: skip
    clean.add_argument("--dry-run", action="store_true", help="tell what would go")
    clean.set_defaults(run=run_clean)

    demo = commands.add_parser("demo", help="the flights example, from raw data to a table", add_help=False)
    demo.add_argument("arguments", nargs=argparse.REMAINDER)
    demo.set_defaults(run=run_demo)
    return parser


def run_clean(options: argparse.Namespace) -> int:
    """Remove old attempts and print which."""
    from j2v_dagster.attempts.clean import clean
    from json2vec.errors import Json2VecError

    try:
        report = clean(
            options.root,
            older_than_days=options.older_than,
            pending_days=options.pending_older_than,
            dry_run=options.dry_run,
        )
    except (Json2VecError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    print(report.summary())
    return 0


def run_demo(options: argparse.Namespace) -> int:
    """Hand over to the demo."""
    from j2v_dagster.demo.run import main as demo

    return demo(options.arguments) or 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = build_parser().parse_args(arguments)
    return options.run(options)

