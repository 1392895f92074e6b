"""Fixtures of this folder."""

from real_ranks import job

__all__ = ["job"]
