"""json2vec where neither Dagster nor any extra is installed: the environment holds what json2vec imports, no more."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import declared as pyproject  # type: ignore[import-not-found]
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from json2vec.errors import EXTRAS

pytestmark = pytest.mark.slow

WALK = """
import importlib, pkgutil, sys
import json2vec
from json2vec.errors import EXTRAS, missing_extra

for name in ("dagster", "dagster_aws", "j2v_dagster", "click", "psutil"):
    assert importlib.util.find_spec(name) is None, name
for extra, packages in EXTRAS.items():
    # tqdm comes with Lightning; all else must be absent.
    assert [name for name in packages if importlib.util.find_spec(name)] == (["tqdm"] if extra == "demo" else []), extra
    assert missing_extra(extra, "this"), extra
modules = [module.name for module in pkgutil.walk_packages(json2vec.__path__, "json2vec.")]
assert len(modules) > 90
for name in modules:
    if name not in ("json2vec.serving.deployment", "json2vec.serving.application"):  # the extra `serving`
        importlib.import_module(name)
for name in json2vec.__all__:
    if name != "Deployment":
        getattr(json2vec, name)
"""
PREDICT = """
import lightning.pytorch as lit, pyarrow as pa, pyarrow.parquet as pq
import json2vec as j2v

rows = [{"carrier": "AA" if i % 3 else "UA", "legs": [{"delay": float(i)}] * (i % 4)} for i in range(100)]
pq.write_table(pa.Table.from_pylist(rows), "shards/a.parquet")
model = j2v.Model.from_schema(
    j2v.Category("carrier", target=True), j2v.Array(j2v.Number("delay"), name="legs", max_length=4),
    d_model=8, n_layers=1, n_heads=2, batch_size=32)
model.learn(pa.RecordBatch.from_pylist(rows))
model.save("model.ckpt")
model = j2v.Model.load("model.ckpt")
data = j2v.StreamingDataModule(model, "shards", "parquet", predict=".")
lit.Trainer(callbacks=[j2v.Writer("predictions")], logger=False, accelerator="cpu",
            enable_progress_bar=False).predict(model, datamodule=data, return_predictions=False)
report = j2v.verify_predictions("predictions", model="model.ckpt")
assert report.passed, report.summary()
table = j2v.read_predictions("predictions").collect()
assert table["inputs"].struct.field("carrier").to_list() == [row["carrier"] for row in rows]
labels = table["predictions"].struct.field("record/carrier").struct.field("content").struct.field("value")
assert set(labels) <= {"AA", "UA"}
print(table.height, "rows proven")
"""


def needed(names: set[str]) -> set[str]:
    """These distributions and all that they require, without their extras."""
    found: set[str] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for line in distribution(name).requires or ():
            below = Requirement(line)
            extras = {"", *requirement.extras}
            wanted = below.marker is None or any(below.marker.evaluate({"extra": extra}) for extra in extras)
            # Once more where an extra is asked for: what it adds was not followed yet.
            if wanted and (canonicalize_name(below.name) not in found or below.extras):
                waiting.append(below)
        found.add(name)
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with json2vec, without j2v_dagster."""
    folder = tmp_path_factory.mktemp("without-dagster")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    extras = {package for packages in EXTRAS.values() for package in packages}
    imported = {one.package for one in pyproject.imports("json2vec")} - extras
    for name in needed(set().union(*(pyproject.distributions_of(package) for package in imported))):
        files = distribution(name).files or ()
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    (site / "json2vec").symlink_to(pyproject.ROOT / "json2vec")
    return folder / "bin" / "python"


def run(python: Path, code: str, folder: Path) -> str:
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    result = subprocess.run([str(python), "-c", code], capture_output=True, text=True, cwd=folder, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_module_can_be_imported(python: Path, tmp_path: Path) -> None:
    run(python, WALK, tmp_path)


def test_a_model_predicts_to_rank_files_that_are_verified_and_read(python: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    assert "100 rows proven" in run(python, PREDICT, tmp_path)
