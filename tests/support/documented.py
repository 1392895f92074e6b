"""The Python blocks of a page that run, as modules of their own."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> list[str]:
    """The source of each block of a page below the line ``<!-- run -->``."""
    text = (DOCS / page).read_text("utf-8")
    return re.findall(r"^<!-- run -->\n+```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def module(page: str, number: int, name: str) -> ModuleType:
    """Block ``number`` of a page, run as the module ``name``, which is not put where imports find it."""
    made = ModuleType(name)
    exec(compile(blocks(page)[number], str(DOCS / page), "exec"), made.__dict__)
    return made
