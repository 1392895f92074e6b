"""Fixtures of this folder."""

from aged_attempts import folder
from past import source

__all__ = ["folder", "source"]
