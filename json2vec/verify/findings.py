"""What verification says: `Finding` and `Report`, worded for whoever is woken up by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from json2vec.errors import VerificationFailed

FINDINGS = ("files", "coverage", "inputs", "source", "schema", "values", "replay")
REQUIRED = tuple(name for name in FINDINGS if name != "source")
"""Findings that must be proven by default. ``source`` is not: a frame has no file, and a file may have no second
reader. Where it failed, the report fails all the same."""
MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One property of a prediction folder.

    Attributes:
        name: one of `FINDINGS`.
        passed: whether the folder has the property; None where that can be neither proven nor refuted.
        expected: what was looked for.
        found: what is there.
        remedy: what to do; empty where it passed.
        counts: numbers behind ``found``.
        examples: the first offending files, ranks or rows.
    """

    name: str
    passed: bool | None
    expected: str
    found: str
    remedy: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All findings on one folder.

    Attributes:
        path: the address of the folder.
        rows: output rows that its manifest promises; without a manifest, those that its files hold.
        findings: all findings, in the order of `FINDINGS`.
        seconds: how long the verification took.
        require: the findings that must pass.
    """

    path: str
    rows: int
    findings: tuple[Finding, ...]
    seconds: float
    require: tuple[str, ...] = REQUIRED

    @property
    def passed(self) -> bool:
        """No finding failed, and every required one is proven."""
        return all(
            finding.passed or (finding.passed is None and finding.name not in self.require) for finding in self.findings
        )

    def finding(self, name: str) -> Finding:
        """The finding called ``name``.

        Raises:
            KeyError: the name is none of `FINDINGS`.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"no finding {name!r}; expected one of {', '.join(FINDINGS)}")

    def raise_if_failed(self) -> None:
        """Raise `VerificationFailed`, with `summary` as its message, unless the report passed."""
        if not self.passed:
            raise VerificationFailed(self.summary(), report=self)

    def to_json(self) -> dict[str, Any]:
        """A plain dict for `json.dumps`."""
        findings = [{**vars(finding), "examples": list(finding.examples)} for finding in self.findings]
        return {"path": self.path, "rows": self.rows, "passed": self.passed, "seconds": round(self.seconds, 3),
                "require": list(self.require), "findings": findings}  # fmt: skip

    def summary(self) -> str:
        """A line for the folder and one for each finding, worst first to read."""
        verdict = "PASSED" if self.passed else "FAILED"
        lines = [f"{verdict}  {self.path}: {self.rows} rows, verified in {self.seconds:.1f} s"]
        for finding in self.findings:
            word = {True: "ok", False: "FAIL", None: "not proven"}[finding.passed]
            line = f"  {finding.name:<8} {word}"
            if finding.passed:
                line += f"  {finding.found}"
            else:
                line += f"  expected {finding.expected}; found {finding.found}"
                line += f"; first: {', '.join(finding.examples)}" if finding.examples else ""
                line += f"; remedy: {finding.remedy}" if finding.remedy else ""
                line += "" if finding.passed is False or finding.name in self.require else " (not required)"
            lines.append(line)
        return "\n".join(lines)
