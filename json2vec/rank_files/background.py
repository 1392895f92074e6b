"""A worker thread behind a short queue, whose errors come back to the caller."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Runs ``work(item)`` for each item, in order, in one thread.

    At most ``depth`` items wait, so that memory stays bounded and a slow disk slows the caller. After an error the
    rest is thrown away and the error is raised by the next `put` or by `finish`.
    """

    def __init__(self, work: Callable[[T], None], *, depth: int = 2, name: str = "background") -> None:
        self._work = work
        self._queue: queue.Queue[T | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._cancelled = False
        # Daemon: an interpreter that exits on an error must not wait for this thread.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        self._raise()
        self._queue.put(item)  # never blocks for good: the thread goes on emptying the queue after an error

    def finish(self) -> None:
        """Wait until all items are done."""
        self._stop()
        self._raise()

    def cancel(self) -> None:
        """Throw away what waits; returns when the item in hand is done."""
        self._cancelled = True
        self._stop()

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is None and not self._cancelled:
                try:
                    self._work(item)
                except BaseException as exc:
                    self._error = exc
