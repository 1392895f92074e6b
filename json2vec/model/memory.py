"""A batch too large for the device's memory is predicted in halves.

The size that fitted is remembered, so only the first batches pay for the attempts. Rows do not depend on each other, so
the predictions are the same, up to rounding.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable

import torch

from json2vec.batch import Batch
from json2vec.model.predictions import Predictions

log = logging.getLogger(__name__)


class Halving:
    """Predicts batches, in parts where the device's memory asks for it.

    Attributes:
        limit: most rows to predict at once, as far as it is known by now; None while every batch fitted.
    """

    def __init__(self) -> None:
        self.limit: int | None = None

    def run(self, infer: Callable[[Batch], Predictions], batch: Batch) -> Predictions:
        """Predict a batch as a whole or in parts; parts wait in host memory for the last one.

        Args:
            infer: predicts one part.
            batch: the batch, on the device.

        Raises:
            torch.OutOfMemoryError: a single row does not fit.
        """
        parts: list[Predictions] = []
        start = 0
        while start < batch.size or not parts:
            rows = batch.size - start if self.limit is None else min(batch.size - start, self.limit)
            part = batch if rows == batch.size else batch.slice(start, start + rows)
            predicted = self._attempt(infer, part)
            if predicted is None:
                continue
            parts.append(predicted if rows == batch.size else predicted.cpu())
            start += rows
        return parts[0] if len(parts) == 1 else Predictions.join(parts)

    def _attempt(self, infer: Callable[[Batch], Predictions], part: Batch) -> Predictions | None:
        """The predictions of one part; None where it did not fit, with a smaller limit for the next attempt."""
        try:
            return infer(part)
        except torch.OutOfMemoryError as exc:
            if part.size <= 1:
                raise torch.OutOfMemoryError(
                    f"the device has no memory for a batch of {part.size} row; expected room for one at least. "
                    "Remedy: free the device of other processes, lower max_length or d_model, or predict on the CPU. "
                    f"The device says: {exc}"
                ) from exc
            self.limit = part.size // 2
            log.warning("out of device memory at %d rows; going on with %d rows at once", part.size, self.limit)
        # Out of the except block: the traceback held the failed attempt's tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


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
