"""Floors: who may know whom. And light imports: what must not load torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import json2vec

ROOT = Path(json2vec.__file__).parent
FLOORS = [
    {"address", "enums", "errors", "factories", "memory", "progress", "ranks"},
    {"s3", "stores"},
    {"queries", "options"},
    {"schema", "selectors", "editing"},
    {"columns", "row_hash", "batch", "processors", "nn"},
    {"fields"},
    {"encode", "masking", "checkpoint", "predictions", "profile", "profiler", "tallies", "halving", "occupancy"},
    {"tree"},
    {"model"},
    {"data"},
    {"rank_files"},
    {"predict", "serving", "helpers", "contract"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
# Types only: a batch carries what a reader rejected, a checkpoint describes a model.
ALLOWED = {("batch", "data"), ("checkpoint", "model")}


def imported(path: Path) -> set[str]:
    """Rooms of json2vec that a file imports, under TYPE_CHECKING and inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names if node.module == "json2vec"]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("json2vec.")}
        assert not any(name.startswith("j2v_dagster") for name in names), path
    return found & set(LEVEL)


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downward_only(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert room in LEVEL, f"{room} stands on no floor; give it one in this test"
    for other in imported(path) - {room}:
        assert LEVEL[other] <= LEVEL[room] or (room, other) in ALLOWED, f"{room} imports {other}, which lies above it"


def test_field_files_do_not_import_each_other() -> None:
    shared = {"registry", "vocabulary", "normalizer", "counter", "heads", "values"}
    for path in (ROOT / "fields").glob("*.py"):
        if path.stem == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("json2vec.fields."):
                assert (node.module or "").rpartition(".")[2] in shared, f"{path.name} imports {node.module}"


def loaded(statement: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}; import sys; print([m for m in ('torch', 'lightning') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    return set(ast.literal_eval(result.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import json2vec; json2vec.Address('a'); json2vec.SchemaError",
        "import json2vec.data.snapshot, json2vec.data.plan, json2vec.data.readers",
        "import json2vec.rank_files.manifest, json2vec.rank_files.reader, json2vec.rank_files.verify, "
        "json2vec.rank_files.commit",
        "import json2vec.predict",
        "import json2vec.contract, json2vec.profile",
        "import j2v_dagster.definitions",
    ],
)
def test_light_imports(statement: str) -> None:
    assert loaded(statement) == set()


def test_every_export_exists() -> None:
    for name in json2vec.__all__:
        assert getattr(json2vec, name) is not None
    assert sorted(json2vec.__all__) == dir(json2vec)
    with pytest.raises(AttributeError, match="no attribute 'Modle'"):
        json2vec.Modle  # noqa: B018
