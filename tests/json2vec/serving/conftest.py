"""Fixtures of this folder."""

from served import model

__all__ = ["model"]
