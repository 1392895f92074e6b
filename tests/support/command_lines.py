"""A folder in which every command has something to do, and a way to run one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from j2v_dagster.cli.console import WELL
from j2v_dagster.cli.main import main

FROZEN = Path(__file__).parents[1] / "data" / "format-1"
ROW = "--file a.parquet --row 1"
PIPELINE: dict[str, Any] = {
    "name": "a", "inputs": "orders", "output": "estimated", "checkpoint": "model.ckpt", "table": "t",
    "warehouse": "w.duckdb", "partitions": {"kind": "dynamic"}, "columns": {"id": "inputs.id"},
}  # fmt: skip
WRONG_PIPELINES: dict[str, Any] = {
    "no-inputs": {name: value for name, value in PIPELINE.items() if name != "inputs"},
    "number-as-inputs": {**PIPELINE, "inputs": 5},
    "text-as-batch-size": {**PIPELINE, "batch_size": "many"},
    "text-as-storage-options": {**PIPELINE, "storage_options": "none"},
    "number-as-checkpoint": {**PIPELINE, "checkpoint": 7},
    "text-as-ranks": {**PIPELINE, "ranks": "all"},
    "no-ranks": {**PIPELINE, "ranks": 0},
    "unknown-format": {**PIPELINE, "suffix": "docx"},
    "folder-without-key": {**PIPELINE, "folder": "here"},
    "unknown-option": {**PIPELINE, "rank": 2},
}


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        document = json.loads(self.out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
        assert isinstance(document, dict)
        return document


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("case")
    shutil.copytree(FROZEN, root, dirs_exist_ok=True)
    for day in ("d1", "d2"):
        (root / "orders" / f"dt={day}").mkdir(parents=True)
        shutil.copy(FROZEN / "inputs" / "a.parquet", root / "orders" / f"dt={day}")
    shutil.copytree(FROZEN / "predictions", root / "damaged")
    (root / "damaged" / "rank-1.0.parquet").unlink()
    for name, content in {
        "pointer-without-attempt": b"{}", "pointer-without-json": b"[", "pointer-to-nothing": b'{"attempt": "x"}',
    }.items():  # fmt: skip
        (root / name).mkdir()
        (root / name / "_current.json").write_bytes(content)
    for name in ("empty", "cleaned", "unreadable", "other"):
        (root / name).mkdir()
    (root / "unreadable" / "a.parquet").write_bytes(bytes(range(256)))
    _other_columns(root / "other" / "a.parquet")
    (root / "junk.ckpt").write_bytes(bytes(range(256)))
    (root / "junk.json").write_text("no JSON\n")
    (root / "list.json").write_text("[1]\n")
    proof = json.loads((root / "proof.json").read_text())
    (root / "other-row.json").write_text(json.dumps({"source": {**proof["source"], "row": 5}}))
    certificate = json.loads((root / "certificate.json").read_text())
    (root / "other.json").write_text(json.dumps({**certificate, "root": "00" * 32}))
    for name, pipeline in {"good": PIPELINE, **WRONG_PIPELINES}.items():
        (root / f"{name}.yaml").write_text(json.dumps({"pipelines": [pipeline]}))
    (root / "project").mkdir()
    (root / "project" / "pipelines.yaml").write_text("mine\n")
    arguments = ["profile", str(root / "model.ckpt"), "--inputs", str(root / "inputs")]
    assert main([*arguments, "--output", str(root / "profiled.ckpt")]) == WELL
    return root


def _other_columns(path: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(FROZEN / "inputs" / "a.parquet")
    pq.write_table(table.rename_columns([f"other_{name}" for name in table.schema.names]), path)


@pytest.fixture
def run(case: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(case)

    def ended(arguments: Sequence[str]) -> Ended:
        capsys.readouterr()
        try:
            status = main(arguments)
        except SystemExit as exc:
            status = exc.code
        assert isinstance(status, int)
        return Ended(status, *capsys.readouterr())

    return ended
