"""Fixtures of this folder."""

from iceberg_tables import warehouse

__all__ = ["warehouse"]
