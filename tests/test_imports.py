"""Floors: who may know whom. And light imports: what must not load torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import json2vec

ROOT = Path(json2vec.__file__).parent
DAGSTER = ROOT.parent / "j2v_dagster"
# From the ground up: a room imports from its own floor or from below it. Rooms of one floor do not know each other.
FLOORS = {
    "json2vec": [
        {"address", "enums", "errors", "nn"},
        {"storage", "schema", "ranks", "processors"},
        {"reading"},
        {"columns", "batch"},
        {"fields"},
        {"profile"},
        {"model"},
        {"data"},
        {"rank_files", "contract", "helpers", "serving"},
        {"verify"},
        {"predict"},
    ],
    "j2v_dagster": [
        {"compat", "translator", "checks", "shards", "warehouse", "launchers"},
        {"options", "attempts"},
        {"sensors", "scaffold", "steps"},
        {"automation"},
        {"backfill"},
        {"assets"},
        {"pipeline"},
        {"definitions"},
        {"component"},
        {"demo"},
        {"cli"},
    ],
}
LEVEL = {f"{package}.{room}": level for package, floors in FLOORS.items()
         for level, rooms in enumerate(floors) for room in rooms}  # fmt: skip
MOST_AT_THE_ROOT = {"json2vec": 8, "j2v_dagster": 12}


def imported(path: Path) -> set[str]:
    """Rooms that a file imports from, as ``package.room``; under TYPE_CHECKING and inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names if "." not in node.module)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {".".join(name.split(".")[:2]) for name in names if name.partition(".")[0] in FLOORS}
    return rooms - {"json2vec", "j2v_dagster"}


FILES = sorted({*ROOT.rglob("*.py"), *DAGSTER.rglob("*.py")} - {ROOT / "__init__.py", DAGSTER / "__init__.py"})


def room_of(path: Path) -> str:
    package, room = path.relative_to(ROOT.parent).parts[:2]
    return f"{package}.{room.removesuffix('.py')}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT.parent)))
def test_imports_go_downward_only(path: Path) -> None:
    room = room_of(path)
    assert room in LEVEL, f"{room} stands on no floor; give it one in this test"
    for other in imported(path) - {room}:
        if other.partition(".")[0] == room.partition(".")[0]:
            assert other not in LEVEL or LEVEL[other] < LEVEL[room], f"{room} imports {other}, which is not below it"
        else:
            assert room.startswith("j2v_dagster."), f"{room} imports {other}: json2vec does not know Dagster"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Circles within a room; the floors exclude those between rooms."""
    files = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                graph[name] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & set(files)
        graph[name].discard(name)
    with_circle = TopologicalSorter(graph)
    with_circle.prepare()  # raises CycleError, which names the files


@pytest.mark.parametrize("root", [ROOT, DAGSTER], ids=lambda root: root.name)
def test_the_root_holds_few_modules(root: Path) -> None:
    modules = [path.stem for path in root.glob("*.py") if path.stem != "__init__"]
    assert len(modules) <= MOST_AT_THE_ROOT[root.name], modules


STORES = {"LocalStore", "ObjectStore", "S3Store"}
ABOVE_STORAGE = [path for path in FILES if room_of(path) != "json2vec.storage"]


@pytest.mark.parametrize("path", ABOVE_STORAGE, ids=lambda path: str(path.relative_to(ROOT.parent)))
def test_nothing_above_storage_asks_which_kind_of_store_it_has(path: Path) -> None:
    """What a disk and a bucket do differently is a method of `Store`."""
    for node in ast.walk(ast.parse(path.read_text())):
        asks = None
        if isinstance(node, ast.Constant) and node.value in ("://", "s3://", "file://"):
            asks = f"compares with {node.value!r}"
        elif isinstance(node, ast.Attribute) and node.attr in ("local_path", "_local"):
            asks = f"calls {node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            kinds = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
            asks = f"compares with {kinds & STORES}" if kinds & STORES else None
        assert asks is None, f"line {getattr(node, 'lineno', 0)} {asks}. Remedy: a method of Store, for each kind"


def test_addresses_become_stores_where_the_contracts_say_so() -> None:
    """A function that is not in that list takes a `Store`."""
    contracts = (ROOT.parent / "docs" / "contracts.md").read_text()
    _, _, rest = contracts.partition("Where an address becomes a store")
    listed = set(re.findall(r"`(\w+)`", rest.partition("\n## ")[0]))
    opening: dict[str, Path] = {}
    for path in ABOVE_STORAGE:
        for definition in ast.parse(path.read_text()).body:
            for node in ast.walk(definition):
                called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id
                if called in ("open_store", "fetch") and room_of(path) != "j2v_dagster.cli":
                    opening[getattr(definition, "name", "module")] = path
    assert set(opening) - listed == set(), opening
    gone = listed - set(opening) - {"Store", "infer_schema"}
    assert gone == set(), "docs/contracts.md names what opens no store"


def test_field_types_do_not_import_each_other() -> None:
    """A field type is one file; what several share stands in a file of its own."""
    import json2vec.fields
    from json2vec.fields.registry import FIELD_TYPES

    modules = {kind.options.__module__ for kind in FIELD_TYPES.values()}
    types = {module.rpartition(".")[2] for module in modules if module.startswith(f"{json2vec.fields.__name__}.")}
    assert len(types) >= 7
    for name in types:
        for node in ast.walk(ast.parse((ROOT / "fields" / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("json2vec.fields"):
                assert (node.module or "").rpartition(".")[2] not in types, f"{name}.py imports {node.module}"


def loaded(statement: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}; import sys; print([m for m in ('torch', 'lightning') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    return set(ast.literal_eval(result.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import json2vec; json2vec.Address('a'); json2vec.SchemaError",
        "import json2vec.reading.snapshot, json2vec.reading.plan, json2vec.reading.readers",
        "import json2vec.rank_files.manifest, json2vec.rank_files.reader, json2vec.verify.verify, "
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
