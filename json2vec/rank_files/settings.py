"""How ranks predicted, as manifests record it, and the digest that says whether two attempts may share segments."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from json2vec.storage.local import file_sha256

SETTINGS = ("device", "precision", "batch_size", "threads", "preprocessor", "postprocessor", "inputs", "reconstruct")


def settings_digest(settings: Mapping[str, Any], modules: Iterable[str] = ()) -> str:
    """SHA-256 (hex) over everything besides the input that can change a prediction.

    Args:
        settings: plain values, such as the checkpoint's SHA-256, precision, processors and columns.
        modules: names of modules whose code takes part. Their source files are hashed, those of their whole top package
            included, and nothing is imported.
    """
    code = {name: _code_sha256(name) for name in sorted({module.partition(".")[0] for module in modules})}
    text = json.dumps({"settings": dict(settings), "code": code, "versions": library_versions()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _code_sha256(module: str) -> str:
    """SHA-256 (hex) over the Python files of a top-level module or package; another text where there are none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "not found"
    if spec.submodule_search_locations is None:
        return file_sha256(spec.origin) if spec.has_location and spec.origin else str(spec.origin)
    sha = hashlib.sha256()
    for root in spec.submodule_search_locations:
        for path in sorted(Path(root).rglob("*.py")):
            sha.update(f"{path.relative_to(root).as_posix()} {file_sha256(path)}\n".encode())
    return sha.hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a prediction."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("json2vec-dagster", "lightning", "numpy", "polars", "pyarrow", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
