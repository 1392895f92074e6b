"""Folders without a usable manifest: those that died before their commit, and those of other Lightning writers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.errors import Json2VecError
from json2vec.rank_files.commit import read_footer
from json2vec.rank_files.manifest import MANIFEST_NAME, parse_name
from json2vec.storage.store import Store
from json2vec.verify.findings import FINDINGS, MAX_EXAMPLES, Finding
from json2vec.verify.source import Source

_EXPECTED = {
    "files": f"a {MANIFEST_NAME} that lists every file",
    "coverage": "each input row once, named by a source column",
    "inputs": "the inputs of every row equal to the source row that it names",
    "source": "rows and values equal to those that a second reader sees",
    "schema": "one schema, the one that model and input imply",
    "values": "probabilities finite and in [0, 1], summing to 1",
    "replay": "stored predictions equal to those predicted again",
}


def foreign_findings(
    store: Store, why: Exception, inputs: Source | None
) -> tuple[int, tuple[Finding, ...]]:
    """Rows found, and the findings on a folder whose manifest is missing or malformed.

    Whatever carries our footer or name of a half-written file was not committed, and fails. Of other Parquet files only
    what can be refuted is refuted: unreadable files, files of different schemas, and a number of rows that differs
    from the input's.

    Args:
        store: the store whose root is the folder.
        why: what is wrong with the manifest.
        inputs: the input rows; None where they were not given.
    """
    try:
        paths = [entry.path for entry in store.list() if "/" not in entry.path]
    except Json2VecError as exc:
        return 0, _all(False, str(exc), "check the path")
    parquet = [path for path in paths if path.endswith(".parquet")]
    ours = [path for path in paths if (name := parse_name(path)) and (name.open or name.kind != "rows")]
    rows, broken, schemas = 0, [], {}
    for path in parquet:
        try:
            footer, problem = read_footer(store, path)
        except ValueError as exc:  # pyarrow decodes the names in a damaged footer
            footer, problem = None, f"is no readable Parquet file ({exc})"
        if problem is not None:
            broken.append(f"{path} {problem}")
            continue
        if footer is not None:
            ours.append(f"{path} (attempt {footer.attempt}, rank {footer.rank} of {footer.world_size})")
        with store.open(path) as handle:
            file = pq.ParquetFile(handle)
            rows += file.metadata.num_rows
            schemas[path] = file.schema_arrow
    if ours or not parquet or MANIFEST_NAME in paths:
        remedy = "look at the ranks' logs and predict again"
        examples = tuple(ours[:MAX_EXAMPLES])
        return rows, _all(False, f"no complete folder: {why}", remedy, examples)
    unproven = f"{len(parquet)} files of another writer with {rows} rows"
    remedy = "predict with json2vec's Writer to have this proven"
    findings = {name: Finding(name, None, _EXPECTED[name], unproven, remedy) for name in FINDINGS}
    if broken:
        findings["files"] = Finding("files", False, "readable Parquet files", f"{len(broken)} that are not",
                                    "predict again", {"broken": len(broken)}, tuple(broken[:MAX_EXAMPLES]))  # fmt: skip
    odd = [path for path, schema in schemas.items() if not schema.equals(next(iter(schemas.values())))]
    if odd:
        findings["schema"] = Finding("schema", False, _EXPECTED["schema"], f"{len(odd)} files with another schema",
                                     "predict again", {"wrong": len(odd)}, tuple(odd[:MAX_EXAMPLES]))  # fmt: skip
    expected = _input_rows(inputs)
    if expected is not None and expected != rows:
        findings["coverage"] = Finding(
            "coverage", False, f"{expected} rows, as many as the input has", f"{rows} rows", "predict again",
            {"input_rows": expected, "rows": rows},
        )  # fmt: skip
    return rows, tuple(findings.values())


def _all(passed: bool, found: str, remedy: str, examples: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    """``files`` fails; nothing else can be proven of a folder that was never complete."""
    files = Finding("files", passed, _EXPECTED["files"], found, remedy, {}, examples)
    rest = (Finding(name, None, _EXPECTED[name], "not looked at: the folder is not complete", remedy)
            for name in FINDINGS if name != "files")  # fmt: skip
    return (files, *rest)


def _input_rows(inputs: Source | None) -> int | None:
    """Rows of a frame, or of the Parquet files below a root; None where they cannot be counted cheaply."""
    if inputs is None:
        return None
    if isinstance(inputs, pa.Table):
        table: Any = inputs
        return table.num_rows
    try:
        total, any_file = 0, False
        for entry in inputs.list():
            if entry.path.endswith(".parquet"):
                with inputs.open(entry.path) as handle:
                    total, any_file = total + pq.read_metadata(handle).num_rows, True
    except (Json2VecError, OSError, pa.ArrowException):
        return None
    return total if any_file else None
