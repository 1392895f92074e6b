"""Small schemas."""

from __future__ import annotations

import json2vec as j2v


def build(*fields: object, **options: object) -> j2v.Schema:
    return j2v.Schema.from_schema(*fields, **{"d_model": 8, "n_layers": 1, "n_heads": 2, **options})  # type: ignore[arg-type]
