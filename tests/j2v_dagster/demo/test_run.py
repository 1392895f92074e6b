"""The demo's modules on the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import j2v_dagster

ROOT = Path(j2v_dagster.__file__).parents[1]


@pytest.mark.parametrize("module", ["j2v_dagster.demo.run", "j2v_dagster.demo.shards"])
def test_the_demos_modules_have_help_too(module: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path,
        env=environment,
    )  # fmt: skip
    assert f"python -m {module} [OPTIONS]" in done.stdout
    assert "--first" in done.stdout
