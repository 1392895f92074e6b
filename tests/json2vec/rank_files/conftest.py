"""Fixtures of this folder."""

from dying_attempts import partition
from incremental import checkpoint, runs, seen
from rank_folders import model, shards, swap, write
from written_ranks import plan

__all__ = ["checkpoint", "model", "partition", "plan", "runs", "seen", "shards", "swap", "write"]
