"""Every name that people import says what it is: in its docstring, and on a page of the documentation."""

from __future__ import annotations

import inspect

import pytest

import j2v_dagster
import json2vec

EXPORTS = [(package, name) for package in (json2vec, j2v_dagster, json2vec.helpers) for name in package.__all__]


@pytest.mark.parametrize(("package", "name"), EXPORTS, ids=lambda one: getattr(one, "__name__", one))
def test_an_exported_name_is_documented(package: object, name: str) -> None:
    value = getattr(package, name)
    if not isinstance(value, str):
        said = inspect.getdoc(value) or ""
        assert len(said.split()) >= 3, f"{name} has no docstring of its own"
