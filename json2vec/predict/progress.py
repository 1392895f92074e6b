"""What a rank says of how far it is: JSON lines on stdout, which the launcher's caller reads (docs/contracts.md)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning.pytorch as lit

PROGRESS_EVERY_S = 1.0


class Progress:
    """Rows that a rank has predicted, printed as one JSON line a second at most, and one at the end of each job.

    Args:
        rank: global rank of this process.
        of: input rows that this rank has to predict in all jobs together.
    """

    def __init__(self, rank: int, of: int) -> None:
        self.rank, self.of, self.rows, self.done = rank, of, 0, 0
        self._started: float | None = None
        self._printed = 0.0

    def begin(self) -> None:
        """The first row of a job is about to be predicted."""
        if self._started is None:
            self._started = time.monotonic()
            self.print()

    def add(self, rows: int) -> None:
        self.rows += rows
        if time.monotonic() - self._printed >= PROGRESS_EVERY_S:
            self.print()

    def end_job(self) -> None:
        """One more job is over, well or not."""
        self.done += 1
        self.print()

    def print(self) -> None:
        self._printed = now = time.monotonic()
        rate = self.rows / max(now - (self._started or now), 1e-9)
        line = {"j2v": "progress", "rank": self.rank, "rows": self.rows, "of": self.of, "done": self.done}
        print(json.dumps(line | {"rows_per_s": round(rate, 1)}), flush=True)


def progress_callback(progress: Progress) -> lit.Callback:
    """A Lightning callback that counts into ``progress``."""
    import lightning.pytorch as lit

    class Count(lit.Callback):
        def on_predict_start(self, trainer: lit.Trainer, pl_module: lit.LightningModule) -> None:
            progress.begin()

        def on_predict_batch_end(
            self, trainer: lit.Trainer, pl_module: lit.LightningModule, outputs: Any, batch: Any, batch_idx: int,
            dataloader_idx: int = 0,
        ) -> None:  # fmt: skip
            progress.add(batch.rows.span[1] - batch.rows.span[0])

    return Count()
