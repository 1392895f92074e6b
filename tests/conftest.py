"""Fixtures for all tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Tests are imported by path (importlib mode). Appended: the folders' own `conftest` stay the first of that name.
sys.path.append(str(Path(__file__).parent / "support"))

import s3_server  # type: ignore[import-not-found]

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def golden() -> Path:
    """A model trained by PyPI json2vec 0.4.11, exported, with what it must predict."""
    return DATA / "golden"


@pytest.fixture(scope="session")
def parity() -> Path:
    """More such models, by name; the README there says what each covers."""
    return DATA / "parity"


@pytest.fixture(scope="session")
def agree() -> Callable[[Any, Any, str], int]:
    """`agree(ours, theirs, where)`: compare predictions of one address with the peer's, whose layout decides.

    Numbers within 1e-4, all else exactly, in type, length and order; returns how many numbers were compared.
    """
    return _agree


def _agree(ours: Any, theirs: Any, where: str) -> int:
    if isinstance(theirs, dict):
        compared = [key for key in theirs if key != "inferred"]  # the peer's own remark on which slots were hidden
        assert list(ours) == compared, f"{where}: {list(ours)}, expected {compared}"
        return sum(_agree(ours[key], theirs[key], f"{where}.{key}") for key in compared)
    if isinstance(theirs, (list, tuple)):
        assert isinstance(ours, (list, tuple)), f"{where}: {ours!r} is no list"
        assert len(ours) == len(theirs), f"{where}: {len(ours)} values, expected {len(theirs)}"
        return sum(_agree(one, other, f"{where}[{i}]") for i, (one, other) in enumerate(zip(ours, theirs, strict=True)))
    if isinstance(theirs, float):
        assert abs(ours - theirs) <= 1e-4, f"{where}: {ours} is not {theirs}"
        return 1
    assert type(ours) is type(theirs), f"{where}: {ours!r} is not {theirs!r}"
    assert ours == theirs, f"{where}: {ours!r} is not {theirs!r}"
    return 0


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real S3 server with two identities: an `s3_server.Server`; started once, by the first test that asks."""
    with s3_server.serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    """Two torch threads are slower than one on the small batches of the tests."""
    import torch

    torch.set_num_threads(1)
