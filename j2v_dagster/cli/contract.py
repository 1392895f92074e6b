"""The commands ``contract`` and ``profile``. Imports neither torch nor dagster before it must."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import Any


def add_contract_commands(commands: Any) -> None:
    """Add both commands to the subparsers of ``j2v-dagster``."""
    contract = commands.add_parser(
        "contract",
        help="compare shards with what a checkpoint was trained on; exit status 0 if they keep the contract, 1 if not",
    )
    _add_inputs(contract)
    contract.add_argument("--model", required=True, metavar="CKPT", help="checkpoint")
    contract.add_argument("--sample", type=int, metavar="ROWS", help="rows to read (default: 4096); 0: schemas alone")
    contract.add_argument("--json", action="store_true", help="print the breaches as JSON")
    contract.set_defaults(run=run_contract)

    profile = commands.add_parser(
        "profile", help="add to a checkpoint the profile of the data that it was trained on; changes no prediction"
    )
    profile.add_argument("checkpoint", help="as Model.save writes it; replaced atomically, unless --output is given")
    _add_inputs(profile)
    profile.add_argument("--output", metavar="CKPT", help="where to write the checkpoint instead")
    profile.add_argument("--sample", type=int, metavar="ROWS", help="rows to read (default: 65536)")
    profile.set_defaults(run=run_profile)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--inputs", required=True, metavar="ROOT", help="folder or URI of the shards")
    parser.add_argument("--suffix", default="parquet", help="their file format (default: parquet)")
    parser.add_argument("--match", type=_pattern, metavar="REGEX", help="only files whose full path this matches")
    parser.add_argument("--preprocessor", metavar="MODULE:FUNCTION", help="what makes observations of rows")
    parser.add_argument("--trust", nargs="+", default=[], metavar="MODULE", help="modules that may be imported")


def run_contract(options: argparse.Namespace) -> int:
    """Print every breach; 0 if the contract holds, 1 if not or if it is not known."""
    from json2vec.contract import SAMPLE_ROWS, check_shards
    from json2vec.errors import Json2VecError
    from json2vec.model.checkpoint import load
    from json2vec.reading.snapshot import snapshot_files
    from json2vec.storage.opening import open_store

    try:
        store = open_store(options.inputs)
        snapshot = snapshot_files(store, options.suffix, match=options.match)
        outcome = check_shards(
            load(options.model), snapshot, store, preprocessor=_preprocessor(options), trusted_modules=options.trust,
            sample_rows=SAMPLE_ROWS if options.sample is None else options.sample,
        )  # fmt: skip
    except (Json2VecError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    kept = outcome.profile is not None and not outcome.broken
    if options.json:
        print(json.dumps({"kept": kept, "breaches": [breach.row() for breach in outcome.breaches]}, indent=2))
    else:
        print(f"{'kept' if kept else 'BROKEN' if outcome.profile else 'UNKNOWN'}  {outcome.summary()}")
        if outcome.breaches:
            print(outcome.text())
    return 0 if kept else 1


def run_profile(options: argparse.Namespace) -> int:
    """Write the checkpoint again, with a profile."""
    from json2vec.errors import Json2VecError
    from json2vec.model.checkpoint import described, load, save
    from json2vec.profile.sampling import PROFILE_ROWS, profile_rows
    from json2vec.reading.snapshot import snapshot_files
    from json2vec.storage.opening import open_store

    try:
        values = load(options.checkpoint)
        schema, vocabularies = described(values, trusted_modules=options.trust, where=options.checkpoint)
        store = open_store(options.inputs)
        snapshot = snapshot_files(store, options.suffix, match=options.match)
        profile = profile_rows(
            schema, vocabularies, snapshot, store, rows=PROFILE_ROWS if options.sample is None else options.sample,
            preprocessor=_preprocessor(options),
        )  # fmt: skip
        target = save(options.output or options.checkpoint, values | {"profile": profile.to_plain()})
    except (Json2VecError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    print(f"{target}: profile of {profile.rows:,} rows, {len(profile.leaves)} leaves")
    return 0


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {exc}") from exc


def _preprocessor(options: argparse.Namespace) -> Any:
    from json2vec.processors import as_preprocessor, resolve

    return as_preprocessor(resolve(options.preprocessor, options.trust)) if options.preprocessor else None
