"""Fixtures of this folder."""

from rank_folders import model, shards, swap, write

__all__ = ["model", "shards", "swap", "write"]
