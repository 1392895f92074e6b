"""The field types that come with the package: every module in here that json2vec/__init__.py exports something of.

Importing this registers them all.
"""

from __future__ import annotations

from importlib import import_module

import json2vec

for _module in sorted(set(json2vec.LOADED_ON_USE.values())):
    if _module.startswith(f"{__name__}."):
        import_module(_module)
