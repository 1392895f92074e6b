"""The page on architecture names what is there, and every room; tests lie where their modules lie."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = re.findall(r"`((?:json2vec|j2v_dagster)/[\w/]+\.py)(?::(\w+))?`", PAGE)
PACKAGES = ("json2vec", "j2v_dagster")
BY_KIND = {"interface", "docs", "s3", "faults", "e2e", "support", "data"}


def rooms(package: str) -> set[str]:
    return {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_what_the_walk_names_is_there(path: str, name: str) -> None:
    names = {node.name for node in ast.walk(ast.parse((ROOT / path).read_text()))
             if isinstance(node, ast.FunctionDef | ast.ClassDef)}  # fmt: skip
    assert not name or name in names


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_stands_on_the_page(package: str) -> None:
    for room in rooms(package):
        assert f"`{room}/`" in PAGE, room


def test_the_test_of_a_module_is_found_by_its_name() -> None:
    """`tests/PACKAGE/ROOM/test_MODULE.py`, or with more words behind the module's name."""
    for folder in (ROOT / "tests").iterdir():
        if folder.is_dir() and folder.name not in BY_KIND | {"__pycache__"}:
            assert folder.name in PACKAGES, f"tests/{folder.name} is no kind of tests"
    for package in PACKAGES:
        for test in (ROOT / "tests" / package).rglob("test_*.py"):
            room = ROOT / package / test.parent.relative_to(ROOT / "tests" / package)
            modules = {path.stem for path in room.glob("*.py")} | rooms(str(room.relative_to(ROOT)))
            stem = test.stem.removeprefix("test_")
            assert any(stem == one or stem.startswith(f"{one}_") for one in modules), f"{test} is of no module there"
