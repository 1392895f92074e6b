"""Attempt folders of a given age."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from j2v_dagster.attempts.folder import Attempt, PartitionOutput
from json2vec.storage.local import LocalStore

DAY_S = 86_400


class Folder:
    """A partition with attempts of any age."""

    def __init__(self, root: Path, name: str = "dt=d1") -> None:
        self.path = root / name
        self.output = PartitionOutput(LocalStore(root / name), name)

    def attempt(
        self, days: float, *, committed: bool = False, passed: bool | None = None, bytes_: int = 1000
    ) -> Attempt:
        """An attempt that was last written to so many days ago; later calls make later attempts."""
        attempt = self.output.create("run-of-a-test")
        (attempt.path / "logs").mkdir()
        (attempt.path / "logs" / "rank-0.log").write_bytes(b"")
        (attempt.path / "rank-0.parquet").write_bytes(bytes(bytes_))
        if committed:
            (attempt.path / "_manifest.json").write_bytes(b"")
        if passed is not None:
            (attempt.path / "_verified.json").write_text(json.dumps({"passed": passed}))
        self.age(attempt, days)
        return attempt

    def age(self, attempt: Attempt, days: float) -> None:
        when = time.time() - days * DAY_S
        for path in (*attempt.path.rglob("*"), attempt.path):
            os.utime(path, (when, when))

    def names(self) -> list[str]:
        return [attempt.name for attempt in self.output.attempts()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
