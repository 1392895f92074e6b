"""Snapshots of small folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from json2vec.reading.snapshot import (
    Snapshot,
    snapshot_files,
)
from json2vec.storage.local import LocalStore


def snap(root: Path, suffix: str = "parquet", **options: Any) -> Snapshot:
    return snapshot_files(LocalStore(root), suffix, **options)
