"""Fixtures of this folder."""

from ephemeral import instance
from four_days import case

__all__ = ["case", "instance"]
