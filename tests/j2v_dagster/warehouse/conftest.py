"""Fixtures of this folder."""

from duckdb_tables import warehouse

__all__ = ["warehouse"]
