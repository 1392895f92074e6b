"""docs/reading.md says what the code does with each type and format."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_types_and_formats_is_current() -> None:
    """Its remedy: ``python docs/tools/reading.py`` writes it."""
    spec = importlib.util.spec_from_file_location("reading_page", ROOT / "docs" / "tools" / "reading.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.page() == (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
