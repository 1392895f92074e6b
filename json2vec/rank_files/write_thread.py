"""A worker thread behind a short queue, whose errors come back to the caller."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Background:
    """Runs pieces of work, in order, in one thread.

    At most ``depth`` pieces wait, so that memory stays bounded and a slow disk slows the caller. After an error the
    rest is thrown away and the error is raised by the next `put` or by `finish`. A signal, which Python handles in the
    main thread, cuts no piece short; one that interrupts `cancel`, too, lets the process end before the piece does.

    Args:
        depth: how many pieces may wait.
        name: the thread's name.
    """

    def __init__(self, *, depth: int = 2, name: str = "background") -> None:
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._cancelled = False
        # Not `Thread.join`: a signal that raises during it makes Python (3.11, 3.12) take a live thread for a dead one.
        self._ended = threading.Event()
        # Daemon: an interpreter that exits on an error must not wait for this thread.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def put(self, work: Callable[[], None]) -> None:
        self._raise()
        self._queue.put(work)  # never blocks for good: the thread goes on emptying the queue after an error

    def finish(self) -> None:
        """Wait until all of it is done."""
        self._stop()
        self._raise()

    def cancel(self) -> None:
        """Throw away what waits; returns when the piece in hand is done."""
        self._cancelled = True
        self._stop()

    def _stop(self) -> None:
        if not self._ended.is_set():
            self._queue.put(None)
            self._ended.wait()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            if self._error is None and not self._cancelled:
                try:
                    work()
                except BaseException as exc:
                    self._error = exc
        self._ended.set()
