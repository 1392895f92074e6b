"""What pyproject.toml declares, and what the code imports."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = "json2vec-dagster"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@dataclass(frozen=True)
class Imported:
    """One import of a package that is neither ours nor Python's own.

    Attributes:
        package: its top level, such as ``pyarrow``.
        path: the file, relative to the repository.
        line: in that file.
        at_once: whether the import runs when the file is imported; false inside functions and under TYPE_CHECKING.
    """

    package: str
    path: str
    line: int
    at_once: bool


def declared(extra: str | None = None) -> dict[str, Requirement]:
    """Requirements by normalized name, of the base install or of an extra; extras of our own are left out."""
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one for one in requirements if one.name != OURS}


def includes(extra: str) -> set[str]:
    """The extras of our own that an extra is made of."""
    requirements = [Requirement(line) for line in PROJECT["optional-dependencies"][extra]]
    return {name for one in requirements if one.name == OURS for name in one.extras}


def distributions_of(package: str) -> set[str]:
    """Normalized names of the installed distributions that bring ``package``."""
    return {canonicalize_name(name) for name in _installed().get(package, ())}


@cache
def _installed() -> Mapping[str, list[str]]:
    return packages_distributions()  # reads every package's list of files


def imports(*folders: str) -> list[Imported]:
    """All imports of other people's packages below some folders of the repository, inside functions too."""
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [found for path in files for found in _imports(path)]


def _imports(path: Path) -> Iterator[Imported]:
    for node, at_once in _walk(ast.parse(path.read_text()), at_once=True):
        for name in _names(node):
            package = name.partition(".")[0]
            if package not in sys.stdlib_module_names and package not in ("json2vec", "j2v_dagster"):
                yield Imported(package, path.relative_to(ROOT).as_posix(), getattr(node, "lineno", 0), at_once)


def _walk(node: ast.AST, *, at_once: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, at_once
    for child in ast.iter_child_nodes(node):
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        yield from _walk(child, at_once=at_once and not later)


def _names(node: ast.AST) -> list[str]:
    """What a statement imports, or a call of `find_spec` or `import_module` with a plain text names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module]
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("find_spec", "import_module"):
        return [one.value for one in node.args[:1] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return []
