"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def golden() -> Path:
    """A model trained by PyPI json2vec 0.4.11, exported, with what it must predict."""
    return DATA / "golden"


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    """Two torch threads are slower than one on the small batches of the tests."""
    import torch

    torch.set_num_threads(1)
