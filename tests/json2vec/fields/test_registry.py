"""docs/custom-field-types.md, run as it stands: written, trained, predicted, saved, and loaded in a fresh process.

And: what others must know of a field type stands in its `FieldType`, and nowhere else.
"""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from built_in import OURS

import json2vec as j2v
import json2vec.fields
from json2vec.fields.registry import FIELD_TYPES, FieldType

ROOT = Path(j2v.__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/custom-field-types.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's first two blocks were run."""
    assert len(BLOCKS) == 3
    folder = tmp_path_factory.mktemp("geo")
    (folder / "geo_field.py").write_text(BLOCKS[0])
    result = run(folder, BLOCKS[1])
    assert result.returncode == 0, result.stderr
    return folder


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def test_it_trains_and_predicts_through_the_writer(folder: Path) -> None:
    table = j2v.read_predictions(folder / "predictions").collect()
    assert table.height == 64
    home = table["predictions"].struct.field("record/home")
    assert home.struct.fields == ["state", "content"]
    content = home.struct.field("content").struct.unnest()
    assert content["lat"].is_between(-90, 90).all()
    assert content["lon"].is_between(-180, 180).all()
    assert content["lat"].n_unique() > 1


def test_a_fresh_process_loads_it_where_its_module_is_trusted(folder: Path) -> None:
    result = run(folder, BLOCKS[2])
    assert result.returncode == 0, result.stderr
    assert "'record/home': {'state': " in result.stdout


def test_elsewhere_its_module_is_not_imported(folder: Path) -> None:
    with pytest.raises(j2v.CheckpointError, match=r"field type 'geo'.*trusted_modules=\['geo_field'\]"):
        j2v.Model.load(folder / "geo.ckpt")
    assert "geo_field" not in sys.modules


def test_arrays_nulls_and_errors(folder: Path) -> None:
    code = """
import json2vec as j2v, pyarrow as pa
from geo_field import Geo
model = j2v.Model.from_schema(
    j2v.Array(Geo("at"), name="stops", max_length=3), j2v.Number("x"), d_model=8, n_layers=1, n_heads=2
).eval()
here = {"lat": 1.0, "lon": 2.0}
rows = [{"stops": [{"at": here}, {"at": None}, {}]}, {"stops": []}, {}]
by_row, by_column = model.encode(rows), model.encode(pa.RecordBatch.from_pylist(rows))
field = by_row.fields[j2v.Address("record/stops/at")]
assert field.state.reshape(3, 3).tolist() == [[0, 1, 1], [2, 2, 2], [2, 2, 2]]
assert (by_column.fields[j2v.Address("record/stops/at")].content["point"] == field.content["point"]).all()
out = model.infer(by_row, ["stops/at"]).columns()
assert out.type == model.output_type(["stops/at"])
model.learn(rows)
model.encode(rows, strata="train")
model.encode([{}, {"stops": [{"at": here}, {"at": {"lat": 91.0, "lon": 2.0}}]}])
"""
    result = run(folder, code)
    assert "record/stops/at: expected lat in [-90, 90], found 91.0 (at row 1 of the batch)" in result.stderr


def test_a_type_name_is_taken_once() -> None:
    class Other(j2v.Leaf):
        type: str = "number"

    with pytest.raises(j2v.SchemaError, match="registered already"):
        j2v.register(dataclasses.replace(FIELD_TYPES["number"], options=Other))


MAY_NAME_THEM = (
    "json2vec/__init__.py",  # exports them
    "json2vec/errors.py",  # `text` is an extra of the distribution there
    "json2vec/fields/",
    "json2vec/model/exported.py",  # the words of PyPI json2vec, whose models it reads
    "j2v_dagster/demo/",  # a schema, as a user writes it
    "j2v_dagster/warehouse/contract",  # columns of such names
)


def sources() -> Iterator[str]:
    """The modules that may not name a field type, as paths below the root."""
    for package in ("json2vec", "j2v_dagster"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(MAY_NAME_THEM):
                yield name


@pytest.mark.parametrize("path", list(sources()))
def test_nobody_else_names_a_field_type(path: str) -> None:
    """What others must know of a field type is a fact of its `FieldType`."""
    modules = {kind.options.__module__ for kind in OURS.values()}
    classes = {kind.options.__name__ for kind in OURS.values()}
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        where = f"{path}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Constant):
            assert node.value not in OURS, f"{where} names the field type {node.value!r}"
        elif isinstance(node, ast.ImportFrom):
            assert node.module not in modules, f"{where} imports from {node.module}"
            taken = {alias.name for alias in node.names} if node.module == "json2vec" else set()
            assert not taken & classes, f"{where} imports {taken & classes}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            known = node.value.id in ("j2v", "json2vec") and node.attr in classes
            assert not known, f"{where} names json2vec.{node.attr}"


def test_the_facts_have_defaults() -> None:
    """A field type that says nothing more than the model must know is neither counted, proposed nor ever tied."""
    needed = {"name", "options", "encode", "empty", "embedder", "decoder", "loss"}
    required = {one.name for one in dataclasses.fields(FieldType) if one.default is dataclasses.MISSING}
    assert required == needed
    plain = FieldType(**{name: getattr(FIELD_TYPES["number"], name) for name in needed})
    assert (plain.measure, plain.recognise, plain.tie, plain.scale, plain.table_parts) == (None, None, None, None, ())
    assert plain.encodes_cheaply
    leaf = j2v.Number("x")
    assert plain.retyped(leaf, pa.int8(), pa.int64()) is None
    assert plain.retyped(leaf, pa.string(), pa.int64()) == (
        "error", "what reads the column was made for the other type",
    )  # fmt: skip
