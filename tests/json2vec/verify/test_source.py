"""The source rows: where they lie, and that they are those of the plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def test_a_changed_shard_is_named(write: Any) -> None:
    folder = write()
    shard = folder.inputs / "sub/c.parquet"
    os.utime(shard, ns=(1, 1))
    report = folder.verify()
    assert report.finding("inputs").passed is False
    assert "sub/c.parquet changed since the plan was made" in report.finding("inputs").found
    assert report.finding("replay").passed is False


def test_a_copy_of_the_inputs_serves(write: Any, tmp_path: Path) -> None:
    folder = write()
    folder.inputs.rename(tmp_path / "moved")
    assert folder.verify().finding("inputs").passed is False
    assert folder.verify(inputs=tmp_path / "moved").passed
