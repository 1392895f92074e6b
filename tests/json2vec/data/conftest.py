"""Fixtures of this folder."""

from incremental import checkpoint, runs, seen
from rank_folders import model, shards
from row_ids import folder

__all__ = ["checkpoint", "folder", "model", "runs", "seen", "shards"]
