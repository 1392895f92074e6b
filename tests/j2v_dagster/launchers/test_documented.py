"""The launcher of docs/launchers.md: a kind of another package, held to the contract."""

from __future__ import annotations

from pathlib import Path

import documented  # type: ignore[import-not-found]
import pytest

TestProcessLauncher = documented.module("launchers.md", 1, "test_my_launcher").TestProcessLauncher

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """``my_launcher.py``, as the page has it, where imports find it."""
    folder: Path = tmp_path_factory.mktemp("packages")
    (folder / "my_launcher.py").write_text(documented.blocks("launchers.md")[0])
    monkeypatch.syspath_prepend(str(folder))
