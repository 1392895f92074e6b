"""Fixtures of this folder."""

from row_ids import folder

__all__ = ["folder"]
