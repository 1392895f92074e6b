"""Every name that people import says what it is: in its docstring, and on a page of the documentation."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import pytest

import j2v_dagster
import json2vec

ROOT = Path(__file__).parents[2]
EXPORTS = [(package, name) for package in (json2vec, j2v_dagster, json2vec.helpers) for name in package.__all__]


@pytest.mark.parametrize(("package", "name"), EXPORTS, ids=lambda one: getattr(one, "__name__", one))
def test_an_exported_name_is_documented(package: object, name: str) -> None:
    value = getattr(package, name)
    if not isinstance(value, str):
        said = inspect.getdoc(value) or ""
        assert len(said.split()) >= 3, f"{name} has no docstring of its own"


def test_the_page_of_names_is_current() -> None:
    """Its remedy: ``python docs/tools/names.py`` writes it."""
    spec = importlib.util.spec_from_file_location("names", ROOT / "docs" / "tools" / "names.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.page() == (ROOT / "docs" / "names.md").read_text(encoding="utf-8")
