"""What a report requires, and what it says of what is not required."""

from __future__ import annotations

from typing import Any

import pytest


def test_without_a_model_its_half_is_not_proven(write: Any) -> None:
    report = write().verify(model=None)
    assert {one.name: one.passed for one in report.findings} == {
        "files": True, "coverage": True, "inputs": True, "schema": None, "values": None, "replay": None,
    }  # fmt: skip
    assert not report.passed
    assert "(not required)" in write(name="again").verify(model=None, require=["files"]).summary()


def test_unknown_requirements_are_refused(write: Any) -> None:
    with pytest.raises(ValueError, match="no findings"):
        write().verify(require=["everything"])
