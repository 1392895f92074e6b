"""Pages that a tool makes of the code say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["names", "reading"])
def test_the_page_is_current(name: str) -> None:
    """Its remedy: ``python docs/tools/NAME.py`` writes it."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.page() == (DOCS / f"{name}.md").read_text(encoding="utf-8")
