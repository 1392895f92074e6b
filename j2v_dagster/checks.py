"""The checks of `prediction_rank_files`: one verification a partition, read four ways, and two that only warn: of
rejected rows, and of inputs that drift away from the training.

Partitioned checks are a preview feature of Dagster 1.13, so they are built here and nowhere else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import PreviewWarning

if TYPE_CHECKING:
    from json2vec.storage.store import Store
    from json2vec.verify.verify import Finding, Report

FINDINGS_OF_CHECK: dict[str, tuple[str, ...]] = {
    "every_rank_file_present": ("files",),
    "row_alignment": ("coverage", "inputs", "source", "replay"),
    "schema_matches_model": ("schema",),
    "values_valid": ("values",),
}
REJECTED_CHECK = "rejected_rows"
DRIFT_CHECK = "input_drift"
ALL_FINDINGS: tuple[str, ...] = tuple(name for names in FINDINGS_OF_CHECK.values() for name in names)
REQUIRED_FINDINGS: tuple[str, ...] = tuple(name for name in ALL_FINDINGS if name != "source")
"""Findings that must be proven by default; ``source`` fails its check where it is refuted, and may stay unproven."""
_REMEDY = "Remedy: see the finding's own; materializing prediction_rank_files again repairs damaged or missing files."
_RULES = {
    "every_rank_file_present": "Rule: the attempt's folder holds exactly the files of its manifest, with their sizes "
    "and SHA-256; no rank is missing and no file is stale. Found by: finding `files`. ",
    "row_alignment": "Rule: every row of the input snapshot was predicted or rejected exactly once (`coverage`), lies "
    "beside its own inputs (`inputs`), a second reader sees the same rows in the input files (`source`), and "
    "predicting a random sample again gives the stored values (`replay`). ",
    "schema_matches_model": "Rule: all rank files have one schema, the one that the model and the inputs imply. Found "
    "by: finding `schema`. ",
    "values_valid": "Rule: probabilities are finite, in [0, 1] and sum to 1; embeddings have unit length; labels are "
    "in the vocabulary. Found by: finding `values`. ",
}
_REJECTED_RULE = (
    "Rule: every row could be read and encoded. Warns where rows were quarantined (on_bad_row='quarantine'); more than "
    "max_rejected of them fail the run before this. Rows that a preprocessor dropped are counted, not warned of. "
    "Remedy: read rejected-*.parquet in the attempt's folder; mend the rows and materialize the partition again."
)
_DRIFT_RULE = (
    "Rule: a sample of the partition's rows is like the rows that the model was trained on: no leaf's population "
    "stability index is more than contract_limits' psi (0.25) above what chance adds and the training's own folders "
    "reached; nulls, unknown labels, lengths of lists and ranges stay within their limits. Warns; nothing is stopped. "
    "Remedy: see the table; train again where the data are right."
)


def build_check_specs(asset: dg.AssetKey, partitions_def: dg.PartitionsDefinition) -> list[dg.AssetCheckSpec]:
    """Four blocking specs and two that warn, partitioned as the asset is; else the last partition would speak for
    all."""
    with warnings.catch_warnings():
        # The preview is what this project builds on; dagster is pinned to 1.13 for it.
        warnings.simplefilter("ignore", PreviewWarning)
        return [
            dg.AssetCheckSpec(
                name, asset=asset, blocking=True, partitions_def=partitions_def, description=_RULES[name] + _REMEDY
            )
            for name in FINDINGS_OF_CHECK
        ] + [
            dg.AssetCheckSpec(name, asset=asset, blocking=False, partitions_def=partitions_def, description=rule)
            for name, rule in ((REJECTED_CHECK, _REJECTED_RULE), (DRIFT_CHECK, _DRIFT_RULE))
        ]


def check_results(
    report: Report, *, asset: dg.AssetKey, require: Sequence[str] = REQUIRED_FINDINGS
) -> Iterator[dg.AssetCheckResult]:
    """One result a check. A check passes when each of its findings passed, or could not be proven and is not required.

    Args:
        report: of `json2vec.verify.verify.verify_predictions`.
        require: findings that must be proven.
    """
    for check, names in FINDINGS_OF_CHECK.items():
        findings = [report.finding(name) for name in names if name in require or _has(report, name)]
        failed = [
            finding
            for finding in findings
            if finding.passed is False or (finding.passed is None and finding.name in require)
        ]
        described = failed or findings
        yield dg.AssetCheckResult(
            passed=not failed,
            asset_key=asset,
            check_name=check,
            description="\n".join(_sentence(finding) for finding in described) or f"not required: {', '.join(names)}",
            metadata=_metadata(findings, report),
        )


def incomplete_results(reason: str, *, asset: dg.AssetKey) -> Iterator[dg.AssetCheckResult]:
    """All checks failed because the folder is not complete; ``reason`` is the error's own text."""
    for check in FINDINGS_OF_CHECK:
        yield dg.AssetCheckResult(passed=False, asset_key=asset, check_name=check, description=reason)


def rejected_result(attempt: Store, *, asset: dg.AssetKey) -> dg.AssetCheckResult:
    """The warning: passed unless rows of the attempt in this folder were quarantined."""
    import pyarrow as pa

    from json2vec.errors import Json2VecError
    from json2vec.rank_files.manifest import read_manifest
    from json2vec.rank_files.rejected import summarize_rejected

    def result(passed: bool, description: str, metadata: dict[str, Any] | None = None) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=passed,
            asset_key=asset,
            check_name=REJECTED_CHECK,
            severity=dg.AssetCheckSeverity.WARN,
            description=description,
            metadata=metadata,
        )

    try:
        manifest = read_manifest(attempt)
        rejected = summarize_rejected(attempt, manifest.rejected)
    except (Json2VecError, OSError, pa.ArrowException) as exc:
        return result(False, f"rejected rows cannot be counted: {exc}")
    text = f"{rejected.quarantined} of {manifest.input_rows} input rows quarantined, {rejected.dropped} dropped."
    if rejected.examples:
        text += f" First: {'; '.join(rejected.examples)}. Remedy: mend these rows and materialize the partition again."
    metadata: dict[str, Any] = {
        "input_rows": manifest.input_rows,
        "quarantined_rows": rejected.quarantined,
        "dropped_rows": rejected.dropped,
        "path": dg.MetadataValue.path(attempt.uri()),
    }
    return result(not rejected.quarantined, text, metadata)


def drift_result(
    passed: bool, description: str, *, asset: dg.AssetKey, metadata: dict[str, Any] | None = None
) -> dg.AssetCheckResult:
    """The warning on drift; `j2v_dagster.steps.contract` measures it."""
    return dg.AssetCheckResult(
        passed=passed,
        asset_key=asset,
        check_name=DRIFT_CHECK,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )


def _has(report: Report, name: str) -> bool:
    return any(finding.name == name for finding in report.findings)


def _sentence(finding: Finding) -> str:
    state = {True: "passed", False: "failed", None: "not proven"}[finding.passed]
    text = f"{finding.name} {state}: expected {finding.expected}; found {finding.found}."
    if finding.passed is True:
        return text
    examples = f" For example: {'; '.join(finding.examples[:5])}." if finding.examples else ""
    return f"{text}{examples} Remedy: {finding.remedy}"


def _metadata(findings: Sequence[Finding], report: Report) -> dict[str, Any]:
    metadata: dict[str, Any] = {"rows": report.rows, "path": dg.MetadataValue.path(str(report.path))}
    for finding in findings:
        metadata[f"{finding.name}_expected"] = finding.expected
        metadata[f"{finding.name}_found"] = finding.found
        for name, count in finding.counts.items():
            metadata[f"{finding.name}_{name}"] = int(count)
        if finding.examples:
            metadata[f"{finding.name}_examples"] = list(finding.examples[:20])
    return metadata
