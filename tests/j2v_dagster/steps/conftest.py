"""Fixtures of this folder."""

from ephemeral import instance
from four_days import case
from real_ranks import job

__all__ = ["case", "instance", "job"]
