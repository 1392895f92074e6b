"""The allocator keeps what the forward pass frees."""

from __future__ import annotations

import platform
import resource

import numpy as np
import pytest

from json2vec.memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so eagerly")
def test_pages_are_not_faulted_in_again() -> None:
    assert keep_freed_memory()
    size = 24 << 20
    np.ones(size, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(size, np.uint8)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 20 * size // 4096 / 10
