"""Any single change to a folder fails its verification: 150 random ones here, 10,000 in benchmarks/verify.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def mutations() -> Any:
    spec = importlib.util.spec_from_file_location("mutations", BENCHMARKS / "mutations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutations"] = module
    spec.loader.exec_module(module)
    return module


def test_every_random_mutation_is_caught(mutations: Any, tmp_path: Path) -> None:
    outcome = mutations.Case.make(tmp_path, seed=20250101).run(150)
    assert outcome["missed"] == []
    assert sum(kind["made"] for kind in outcome["kinds"].values()) == 150
    assert len(outcome["kinds"]) > 12, "the seed must draw most kinds"


def test_what_changes_nothing_is_no_mutation(mutations: Any, tmp_path: Path) -> None:
    """The exclusions are what they say: without them verification passes, and it says why it may."""
    case = mutations.Case.make(tmp_path, seed=1)
    manifest = case.path / "_manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"threads":null', b'"threads": 17'))
    assert case.verify().passed
    case.restore()
    assert manifest.read_bytes() == case.original["_manifest.json"]
    marker = case.path / "rank-1.json"
    marker.write_bytes(marker.read_bytes().replace(b'"batches":', b'"batches":1'))
    assert case.verify().passed
