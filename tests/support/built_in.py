"""The field types of this package."""

from __future__ import annotations

from json2vec.fields.registry import FIELD_TYPES

OURS = {name: kind for name, kind in FIELD_TYPES.items() if kind.options.__module__.startswith("json2vec.")}
