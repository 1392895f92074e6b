"""The field types that come with the package. Importing this registers them all."""

from __future__ import annotations

from json2vec.fields import category, dateparts, entity, number, set, text, vector

__all__ = ["category", "dateparts", "entity", "number", "set", "text", "vector"]
