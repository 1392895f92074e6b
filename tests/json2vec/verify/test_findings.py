"""What a report requires, and what it says of what is not required."""

from __future__ import annotations

from typing import Any

import pytest

from json2vec.verify.findings import FINDINGS, REQUIRED, Finding, Report


def test_without_a_model_its_half_is_not_proven(write: Any) -> None:
    report = write().verify(model=None)
    assert {one.name: one.passed for one in report.findings} == {
        "files": True, "coverage": True, "inputs": True, "source": True, "schema": None, "values": None, "replay": None,
    }  # fmt: skip
    assert not report.passed
    assert "(not required)" in write(name="again").verify(model=None, require=["files"]).summary()


def test_unknown_requirements_are_refused(write: Any) -> None:
    with pytest.raises(ValueError, match="no findings"):
        write().verify(require=["everything"])


def test_the_second_reader_is_not_required_but_may_not_be_contradicted() -> None:
    """Folders of frames and of formats without a second reader verify as before."""
    findings = {name: Finding(name, True, "", "") for name in FINDINGS}
    assert set(FINDINGS) - set(REQUIRED) == {"source"}
    for passed, expected in ((True, True), (None, True), (False, False)):
        findings["source"] = Finding("source", passed, "", "")
        assert Report("", 0, tuple(findings.values()), 0.0).passed is expected
        assert Report("", 0, tuple(findings.values()), 0.0, FINDINGS).passed is (passed is True)
