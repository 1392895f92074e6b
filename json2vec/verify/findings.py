"""What verification says: `Finding` and `Report`, worded for whoever is woken up by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from json2vec.errors import VerificationFailed

FINDINGS = ("files", "coverage", "inputs", "schema", "values", "replay")
MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One property of a prediction folder.

    Attributes:
        name: one of `FINDINGS`.
        passed: None where it can be neither proven nor refuted.
        expected, found: what was looked for, and what is there.
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
        path: of the folder. rows: output rows its manifest promises (or its files hold, without a manifest).
        findings: in the order of `FINDINGS`. seconds: how long the verification took.
        require: the findings that must pass.
    """

    path: str
    rows: int
    findings: tuple[Finding, ...]
    seconds: float
    require: tuple[str, ...] = FINDINGS

    @property
    def passed(self) -> bool:
        """No finding failed, and every required one is proven."""
        return all(one.passed or (one.passed is None and one.name not in self.require) for one in self.findings)

    def finding(self, name: str) -> Finding:
        """The finding called ``name``. Raises KeyError for a name that is none of `FINDINGS`."""
        for one in self.findings:
            if one.name == name:
                return one
        raise KeyError(f"no finding {name!r}; expected one of {', '.join(FINDINGS)}")

    def raise_if_failed(self) -> None:
        """Raise `VerificationFailed`, with `summary` as its message, unless the report passed."""
        if not self.passed:
            raise VerificationFailed(self.summary(), report=self)

    def to_json(self) -> dict[str, Any]:
        """A plain dict for `json.dumps`."""
        findings = [{**vars(one), "examples": list(one.examples)} for one in self.findings]
        return {"path": self.path, "rows": self.rows, "passed": self.passed, "seconds": round(self.seconds, 3),
                "require": list(self.require), "findings": findings}  # fmt: skip

    def summary(self) -> str:
        """A line for the folder and one for each finding, worst first to read."""
        verdict = "PASSED" if self.passed else "FAILED"
        lines = [f"{verdict}  {self.path}: {self.rows} rows, verified in {self.seconds:.1f} s"]
        for one in self.findings:
            word = {True: "ok", False: "FAIL", None: "not proven"}[one.passed]
            line = f"  {one.name:<8} {word}"
            if one.passed:
                line += f"  {one.found}"
            else:
                line += f"  expected {one.expected}; found {one.found}"
                line += f"; first: {', '.join(one.examples)}" if one.examples else ""
                line += f"; remedy: {one.remedy}" if one.remedy else ""
                line += "" if one.passed is False or one.name in self.require else " (not required)"
            lines.append(line)
        return "\n".join(lines)
