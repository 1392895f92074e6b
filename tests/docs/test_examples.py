"""The examples of the documentation run: every Python block that follows the line <!-- run -->."""

from __future__ import annotations

import linecache
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^<!-- run -->\n+```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(page for page in DOCS.rglob("*.md") if BLOCK.search(page.read_text("utf-8")))


def test_there_are_examples() -> None:
    assert {"batch-inference.md", "processors.md"} <= {page.name for page in PAGES}
    for page in DOCS.rglob("*.md"):
        text = page.read_text("utf-8")
        assert text.count("<!-- run -->") == len(BLOCK.findall(text)), f"{page.name}: a marker without a Python block"


@pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.* is deprecated",  # Lightning about torch
    "ignore:Couldn't infer the batch indices",  # our batches are no tensors
    "ignore:.*does not have many workers",
)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("json2vec.processors.PREPROCESSORS", {})
    text = page.read_text("utf-8")
    names: dict[str, Any] = {"__name__": f"docs_{page.stem.replace('-', '_')}"}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        source = "\n" * line + block[1]
        # Errors show the page and its line, and processors find their source for the fingerprint.
        linecache.cache[str(page)] = (len(source), None, source.splitlines(keepends=True), str(page))
        exec(compile(source, str(page), "exec"), names)
