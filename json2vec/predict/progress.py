"""What a rank says of how far it is: JSON lines on stdout, written and read here alone (docs/contracts.md)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning.pytorch as lit

PROGRESS_EVERY_S = 1.0


@dataclass(frozen=True)
class ProgressLine:
    """What one line of progress tells.

    Attributes:
        rows: input rows that the rank has predicted in all jobs so far.
        of: input rows that it has to predict in all jobs together.
        done: jobs that are over, well or not.
        rows_per_s: since its first row.
    """

    rows: int
    of: int
    done: int
    rows_per_s: float


def parse_progress(line: str) -> ProgressLine | None:
    """What a line of a rank's output tells, if it is a line of progress."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("j2v") != "progress" or not {"rows", "of"} <= value.keys():
        return None
    done, rate = int(value.get("done") or 0), float(value.get("rows_per_s") or 0.0)
    return ProgressLine(rows=int(value["rows"]), of=int(value["of"]), done=done, rows_per_s=rate)


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
