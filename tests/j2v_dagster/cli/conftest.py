"""Fixtures of this folder."""

from aged_attempts import folder
from command_lines import case, run
from flight_shards import shards, trained, trained_on_ndjson
from past import source

__all__ = ["case", "folder", "run", "shards", "source", "trained", "trained_on_ndjson"]
