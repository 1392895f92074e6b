"""Dagster's private modules are named in one place, and what is taken from them is there and means what we think."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import dagster as dg
import pytest

import j2v_dagster
from j2v_dagster import compat

ROOT = Path(j2v_dagster.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
COMPAT = ROOT / "compat.py"


def private_modules(path: Path) -> set[str]:
    """Dagster's private modules that a file imports, as text of `import_module` too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.:]+", node.value):
            found.add(node.value)
    return {name for name in found if re.match(r"dagster\w*\.(\w+\.)*_(?!_)", name)}


@pytest.mark.parametrize("path", sorted({*FILES} - {COMPAT}), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_imports_from_a_private_module_of_dagster(path: Path) -> None:
    assert private_modules(path) == set(), f"{path.name}: import it in compat.py, with the reason"


def test_the_reader_of_imports_sees_private_modules() -> None:
    assert {name.rpartition(".")[2] for name in private_modules(COMPAT)} == set(compat.__all__)


def test_every_import_of_compat_says_why_and_what_would_replace_it() -> None:
    named = set()
    lines = COMPAT.read_text().splitlines()
    for node in ast.parse(COMPAT.read_text()).body:
        if not isinstance(node, ast.ImportFrom):
            continue
        comment = []
        while lines[node.lineno - 2 - len(comment)].startswith("# "):
            comment.append(lines[node.lineno - 2 - len(comment)])
        for word in ("# Why: ", "# Instead: "):
            assert any(line.startswith(word) for line in comment), f"line {node.lineno} has no comment with {word!r}"
        named |= {alias.name for alias in node.names}
    assert sorted(named) == sorted(compat.__all__)
    assert all(getattr(compat, name) is not None for name in named)


def test_the_tags_are_those_of_dagsters_own_events() -> None:
    """What Dagster writes for a step that yields its outputs is what we write for partitions reported one by one."""

    @dg.asset(code_version="c1")
    def upstream() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion("u1"))

    @dg.asset(code_version="c2", deps=[upstream])
    def downstream() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([upstream, downstream], instance=instance).success
        key = dg.AssetKey("upstream")
        above = instance.get_latest_materialization_event(key)
        below = instance.get_latest_materialization_event(dg.AssetKey("downstream"))
        record = instance.get_latest_data_version_record(key)
    assert above is not None
    assert below is not None
    assert record is not None
    assert above.tags[compat.DATA_VERSION_IS_USER_PROVIDED_TAG] == "true"
    version = compat.extract_data_version_from_entry(above)
    assert version == dg.DataVersion("u1")
    assert below.tags == {
        compat.CODE_VERSION_TAG: "c2",
        compat.get_input_data_version_tag(key): "u1",
        compat.get_input_event_pointer_tag(key): str(record.storage_id),
        compat.DATA_VERSION_TAG: compat.compute_logical_data_version("c2", {key: version}).value,
    }


def test_the_tags_of_a_run_are_those_that_the_daemon_writes() -> None:
    assert (compat.RUN_KEY_TAG, compat.SENSOR_NAME_TAG) == ("dagster/run_key", "dagster/sensor_name")
