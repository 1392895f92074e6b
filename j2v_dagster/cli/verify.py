"""``j2v-dagster verify``."""

from __future__ import annotations

import argparse
import json
import sys

FINDINGS = ("files", "coverage", "inputs", "schema", "values", "replay")


def run_verify(options: argparse.Namespace) -> int:
    """Print the report; 0 if it passed, 1 if not."""
    from json2vec.errors import Json2VecError
    from json2vec.verify.verify import verify_predictions

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


def current_attempt(path: str) -> str:
    """The attempt that a partition's ``_current.json`` points to; any other path or URI as it is."""
    from json2vec.storage.opening import open_store

    store = open_store(path)
    for name in ("_manifest.json", "_current.json"):
        try:
            content = store.read(name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        return path if name == "_manifest.json" else store.uri(f"attempts/{json.loads(content)['attempt']}")
    return path
