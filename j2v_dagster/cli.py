"""``j2v-dagster``: verify a prediction folder, or run the demo. Imports neither torch nor dagster before it must."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from j2v_dagster.contract_commands import add_contract_commands
from j2v_dagster.inspection import add_inspection_commands, current_attempt

FINDINGS = ("files", "coverage", "inputs", "schema", "values", "replay")


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


def run_verify(options: argparse.Namespace) -> int:
    """Print the report; 0 if it passed, 1 if not."""
    from json2vec.errors import Json2VecError
    from json2vec.rank_files.verify import verify_predictions

    require = tuple(options.require or (FINDINGS if options.model else ("files", "coverage", "inputs")))
    try:
        report = verify_predictions(
            current_attempt(options.path),
            inputs=options.inputs,
            model=options.model,
            require=require,
            sample=options.sample,
        )
    except Json2VecError as exc:
        if options.json:
            print(json.dumps({"path": options.path, "passed": False, "error": str(exc)}))
        else:
            print(f"error: {exc}", file=sys.stderr)
        return 1
    print(json.dumps(report.to_json(), indent=2) if options.json else report.summary())
    return 0 if report.passed else 1


def run_clean(options: argparse.Namespace) -> int:
    """Remove old attempts and print which."""
    from j2v_dagster.clean import clean
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


if __name__ == "__main__":
    sys.exit(main())
