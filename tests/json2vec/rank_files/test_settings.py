"""The digest of settings covers the code of processors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from json2vec.rank_files.settings import PredictSettings, settings_digest


def test_the_digest_of_settings_covers_the_code_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "resume_alone.py").write_text("raise RuntimeError('imported')")
    package = tmp_path / "resume_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "rows.py").write_text("x = 1")

    def digest(**settings: Any) -> str:
        modules = ["resume_alone", "resume_package.rows", "absent_module"]
        return settings_digest({"precision": "32-true"} | settings, modules)

    before = digest()
    assert digest() == before
    assert digest(precision="bf16-mixed") != before
    (package / "rows.py").write_text("x = 2")
    changed = digest()
    assert changed != before
    (tmp_path / "resume_alone.py").write_text("raise RuntimeError('changed')")
    assert digest() not in (before, changed)
    assert not {"resume_alone", "resume_package"} & set(sys.modules)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "64", "transformer-engine", "fp32"])
def test_an_arithmetic_that_does_not_work_is_refused_when_defined(precision: str) -> None:
    with pytest.raises(ValueError, match=r"expected one of 32-true, bf16-mixed, 16-mixed\. Remedy"):
        PredictSettings(precision=precision)
