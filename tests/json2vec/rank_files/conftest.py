"""Fixtures of this folder."""

from dying_attempts import partition
from rank_folders import model, shards, swap, write
from written_ranks import plan

__all__ = ["model", "partition", "plan", "shards", "swap", "write"]
