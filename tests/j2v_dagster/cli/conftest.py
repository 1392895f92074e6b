"""Fixtures of this folder."""

from flight_shards import shards, trained, trained_on_ndjson

__all__ = ["shards", "trained", "trained_on_ndjson"]
