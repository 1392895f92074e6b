"""A field type in one file, `duration_field.py` of tests/support: whoever must know something of it asks that file."""

from __future__ import annotations

import ast
import dataclasses
import datetime
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lightning.pytorch import Trainer

import json2vec as j2v
from j2v_dagster.cli.init_project import propose_columns
from json2vec.contract import check_shards
from json2vec.fields.recognition import Fit, Proposal, Refusal
from json2vec.fields.registry import FIELD_TYPES
from json2vec.helpers import infer_schema
from json2vec.model import checkpoint
from json2vec.reading.snapshot import snapshot_files
from json2vec.schema.nodes import LEAF_TYPES
from json2vec.storage.opening import open_store
from json2vec.verify.replay import scale_of
from json2vec.verify.tolerance import far

ROOT = Path(j2v.__file__).parents[1]
FILE = ROOT / "tests/support/duration_field.py"
PAGE = (ROOT / "docs/custom-field-types.md").read_text()


@pytest.fixture
def duration() -> Iterator[ModuleType]:
    """The module, which registers its field type; taken back afterwards, so that no other test sees it."""
    yield importlib.import_module("duration_field")
    del FIELD_TYPES["duration"], LEAF_TYPES["duration"], sys.modules["duration_field"]


def trips(count: int = 200, longest: int = 3600) -> pa.Table:
    rng = np.random.default_rng(0)
    seconds = rng.integers(1, longest, count)
    return pa.table(
        {
            "took": pa.array(seconds, pa.int64()).cast(pa.duration("s")),
            "late": pa.array(rng.random(count) < 0.5),
        }
    )


@pytest.fixture
def trained(duration: ModuleType, tmp_path: Path) -> Path:
    """A checkpoint of a model that reads and predicts durations; `json2vec.Model.fit` counted its profile."""
    table = trips()
    model = j2v.Model.from_schema(
        duration.Duration("took", longest=3600, p_mask=0.1), j2v.Category("late", max_vocab_size=2, target=True),
        d_model=8, n_layers=1, n_heads=2, batch_size=50, optimizer=j2v.helpers.optimizers.adamw(1e-2),
    )  # fmt: skip
    data: Any = pl.from_arrow(table)
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(model, j2v.PolarsDataModule(model=model, train=data))
    return model.save(tmp_path / "trips.ckpt")


def breaches(trained: Path, folder: Path, table: pa.Table) -> dict[str, Any]:
    """What the contract says to shards of this table, by kind of breach."""
    folder.mkdir()
    pq.write_table(table, folder / "part.parquet")
    store = open_store(folder)
    outcome = check_shards(checkpoint.load(trained), snapshot_files(store, j2v.Suffix.parquet), store)
    return {f"{one.severity} {one.kind}": one for one in outcome.breaches}


def test_a_profile_counts_its_values(trained: Path) -> None:
    profile = j2v.Model.load(trained).profile
    assert profile is not None
    leaf = profile.leaves["record/took"]
    assert leaf.numbers is not None
    assert (leaf.type, leaf.numbers.count) == ("duration", 200)
    assert 1 <= leaf.numbers.min < leaf.numbers.median < leaf.numbers.max < 3600


def test_the_contract_knows_which_arrow_types_it_reads_alike(trained: Path, tmp_path: Path) -> None:
    table = trips()
    assert breaches(trained, tmp_path / "same", table) == {}

    def retyped(name: str, *kinds: pa.DataType) -> dict[str, Any]:
        column = table["took"]
        for kind in kinds:
            column = column.cast(kind)
        return breaches(trained, tmp_path / name, table.set_column(0, "took", column))

    assert retyped("milliseconds", pa.duration("ms")) == {}
    whole = retyped("whole", pa.int64())
    assert list(whole) == ["warning type"]
    assert "whole numbers must be seconds" in whole["warning type"].found
    text = retyped("text", pa.int64(), pa.string())
    assert list(text) == ["error type"]
    assert "the field reads durations" in text["error type"].found


def test_the_contract_compares_and_quotes_its_values(trained: Path, tmp_path: Path) -> None:
    found = breaches(trained, tmp_path / "slow", trips(longest=3600 * 24 * 30))
    (breach,) = (one for kind, one in found.items() if kind in ("error outside_rate", "error unit_change"))
    assert re.fullmatch(r"part\.parquet, row \d+: datetime\.timedelta\(days=29, seconds=\d+\)", breach.examples[0])


def test_verification_knows_a_tie_and_its_scale(trained: Path, duration: ModuleType) -> None:
    kind = pa.struct([("seconds", pa.float32()), ("unit", pa.string())])
    stored = pa.array([{"seconds": 59.9999, "unit": "seconds"}, {"seconds": 59.9999, "unit": "seconds"}], kind)
    again = pa.array([{"seconds": 60.0, "unit": "minutes"}, {"seconds": 61.0, "unit": "minutes"}], kind)
    assert far(stored, again).tolist() == [False, True]
    renamed = (pa.StructArray.from_arrays(one.flatten(), names=["seconds", "word"]) for one in (stored, again))
    assert far(*renamed).tolist() == [True, True]
    model = j2v.Model.load(trained)
    assert scale_of(model, "record/took") == 3600
    assert scale_of(model, "record/late") == 1


def test_infer_schema_recognises_it(duration: ModuleType) -> None:
    took = [datetime.timedelta(seconds=k) for k in range(1, 90)]
    fields, decisions = infer_schema([{"took": one, "n": k} for k, one in enumerate(took)], explain=True)
    assert [field.type for field in fields] == ["duration", "number"]
    assert fields[0].longest == 89
    assert decisions[0].reason == "durations of up to 89 seconds"


def test_of_two_that_are_as_sure_the_one_registered_last_wins(
    duration: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answering(answer: Any) -> None:
        changed = dataclasses.replace(FIELD_TYPES["duration"], recognise=lambda column, config: answer)
        monkeypatch.setitem(FIELD_TYPES, "duration", changed)

    rows = [{"paid": True}]
    answering(Proposal(Fit.certain, "mine", {}))
    assert infer_schema(rows)[0].type == "duration"
    answering(Proposal(Fit.likely, "mine", {}))
    assert infer_schema(rows)[0].type == "category"
    answering(Refusal("not quite"))
    assert infer_schema(rows)[0].type == "category"
    with pytest.warns(UserWarning, match="is skipped: not quite"):
        assert [one.type for one in infer_schema([{"paid": True, "what": b"x"}])] == ["category"]


def test_a_new_project_shows_its_parts(duration: ModuleType) -> None:
    columns = propose_columns(None, {"record/took": "duration"})
    assert columns["took"] == 'predictions["record/took"].content.seconds'
    assert columns["took_unit"] == 'predictions["record/took"].content.unit'


def test_it_is_gone_between_tests() -> None:
    assert "duration" not in FIELD_TYPES


def test_the_page_shows_functions_of_this_file() -> None:
    """The facts on the page are those that the tests above try."""
    block = next(block for block in re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL) if "def recognise" in block)
    ours = [ast.unparse(node) for node in ast.parse(FILE.read_text()).body]
    for node in ast.parse(block).body:
        assert ast.unparse(node) in ours


OPTION = "| `longest` | `86400.0` | seconds, > 0 | what counts as 1, and the most that is predicted |"
DOCS_PAGE = f"""# Duration

How long something took.

| option | default | unit or values | meaning |
|---|---|---|---|
{OPTION}

## What is encoded

Durations of any unit.

## What is written

Seconds and a unit.

## Example

```python
import json2vec as j2v

model = j2v.Model.from_schema(j2v.Duration("took", target=True), j2v.Number("x"), d_model=8, n_layers=1, n_heads=2)
print(model.predict([{{"x": 1.0}}])["record/took"]["content"])
```
"""
BUILT_IN = """
import sys
import json2vec as j2v
assert "Duration" in j2v.__all__ and "torch" not in sys.modules
import json2vec.fields
from json2vec.fields.registry import FIELD_TYPES
assert FIELD_TYPES["duration"].options is j2v.Duration
assert j2v.Duration.__module__ == "json2vec.fields.duration"
"""


def test_to_build_it_in_takes_its_file_one_export_and_its_page(tmp_path: Path) -> None:
    for folder in ("json2vec", "docs", "tests/docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "images"))
    for file in ("tests/conftest.py", "tests/support/s3_server.py", "pyproject.toml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    shutil.copy(FILE, tmp_path / "json2vec/fields/duration.py")
    exports = tmp_path / "json2vec/__init__.py"
    below = "    from json2vec.fields.entity import Entity as Entity\n"
    assert exports.read_text().count(below) == 1
    export = "    from json2vec.fields.duration import Duration as Duration\n"
    exports.write_text(exports.read_text().replace(below, export + below))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    built_in = run("-c", BUILT_IN)
    assert built_in.returncode == 0, built_in.stderr
    tests = ("-m", "pytest", "-q", "tests/docs/test_fields.py", "-k", "duration or has_a_page")
    missing = run(*tests).stdout
    assert "docs/fields/duration.md" in missing, missing
    readme = tmp_path / "docs/fields/README.md"
    row = "| `Duration` | how long something took | [duration](duration.md) |\n"
    readme.write_text(readme.read_text().replace("| `Entity` |", f"{row}| `Entity` |"))
    (tmp_path / "docs/fields/duration.md").write_text(DOCS_PAGE.replace(OPTION, ""))
    assert "1 failed" in run(*tests).stdout  # an option that the page does not tell
    (tmp_path / "docs/fields/duration.md").write_text(DOCS_PAGE)
    documented = run(*tests)
    assert documented.returncode == 0, documented.stdout
