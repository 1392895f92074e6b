"""Keeping freed memory for the next batch.

A forward pass on a CPU allocates and frees the same few tensors of tens of MiB for every batch. glibc hands such memory
back to the kernel each time and gets it again page by page, zeroed: a third of the forward's time on nested records.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 1 << 30
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more


def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory for reuse; whether the allocator took the wish.

    Glibc only; elsewhere nothing happens. The process may hold up to that much more memory than it uses.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES) and mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD))
