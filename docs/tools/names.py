"""Write docs/names.md: every name that people import, with the first sentence of its docstring."""

from __future__ import annotations

import inspect
import re
from enum import Enum
from pathlib import Path

import j2v_dagster
import json2vec
from json2vec import helpers

PAGE = Path(__file__).parents[1] / "names.md"
HEAD = """# Names

Every name that people import, with the first sentence of its docstring. `python docs/tools/names.py` writes this page.
"""
VALUES = {"MASK_LITERAL": "The text that stands for a hidden value in a record that is encoded."}
"""What is said of names that are plain values, which have no docstring."""


def first_sentence(name: str, value: object) -> str:
    """What a name is, in one sentence; of an enum its members, too."""
    if name in VALUES:
        return VALUES[name]
    said = (value.__doc__ if inspect.ismodule(value) else inspect.getdoc(value)) or ""
    sentence = re.split(r"(?<=[.!?])\s", " ".join(said.split("\n\n")[0].split()))[0].rstrip(".") + "."
    if isinstance(value, type) and issubclass(value, Enum):
        sentence += f" One of {', '.join(f'`{member.name}`' for member in value)}."
    return sentence.replace("``", "`").replace("|", "\\|")


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for package in (json2vec, helpers, j2v_dagster):
        parts += [f"\n## {package.__name__}\n", "\n| name | what it is |\n|---|---|\n"]
        parts += [f"| `{name}` | {first_sentence(name, getattr(package, name))} |\n" for name in package.__all__]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
