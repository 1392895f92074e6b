"""Requests that arrive one by one, handled together: `Batcher`."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from json2vec.errors import Json2VecError

T = TypeVar("T")
R = TypeVar("R")


class Overloaded(Json2VecError):
    """More items are waiting than the batcher may hold."""


class TooMany(Json2VecError):
    """More items at once than the batcher may ever hold."""


class Batcher(Generic[T, R]):
    """A thread that takes what is waiting, up to ``max_batch_size`` items at a time, and hands it to ``handle``.

    The thread starts with the first item, and again after `close`, so that nothing runs before it is needed.

    Args:
        handle: a function from items to as many results, in order. A result that is an exception is raised for that
            item alone; what ``handle`` raises itself is raised for every item of the batch.
        max_batch_size: how many items ``handle`` gets at most.
        batch_timeout: seconds to wait for more items after the first one; 0 takes those that are there.
        max_waiting: how many items may wait; more raise `Overloaded`, and so many at once `TooMany`.
    """

    def __init__(
        self,
        handle: Callable[[list[T]], Sequence[R | Exception]],
        *,
        max_batch_size: int,
        batch_timeout: float = 0.0,
        max_waiting: int = 10_000,
    ) -> None:
        self._handle, self._size, self._timeout, self._limit = handle, max_batch_size, batch_timeout, max_waiting
        self._items: queue.SimpleQueue[tuple[T, Future[R]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, items: Sequence[T]) -> list[Future[R]]:
        """Queue items, all or none of them; one future each. A future that is cancelled in time is not worked on.

        Raises:
            TooMany: the items would not fit if none were waiting.
            Overloaded: the items do not fit beside those that are waiting.
        """
        if len(items) > self._limit:
            raise TooMany(
                f"{len(items)} records came at once; at most {self._limit} may wait. Remedy: send fewer at a time, or "
                "set a larger max_waiting"
            )
        with self._lock:
            waiting = self._items.qsize()
            if waiting + len(items) > self._limit:
                raise Overloaded(
                    f"{waiting} records are waiting and {len(items)} more came; at most {self._limit} may wait. "
                    "Remedy: try again later, or send fewer at a time"
                )
            futures: list[Future[R]] = [Future() for _ in items]
            for item, future in zip(items, futures, strict=True):
                self._items.put((item, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="json2vec-batcher", daemon=True)
                self._thread.start()
        return futures

    def close(self) -> None:
        """Finish what is waiting and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._items.put(None)
                thread.join()

    def _run(self) -> None:
        while True:
            batch, last = self._take()
            batch = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if batch:
                self._answer([item for item, _ in batch], [future for _, future in batch])
            if last:
                return

    def _take(self) -> tuple[list[tuple[T, Future[R]]], bool]:
        """The next batch, and whether it is the last one."""
        taken: list[tuple[T, Future[R]]] = []
        deadline = 0.0
        while len(taken) < self._size:
            try:
                left = max(0.0, deadline - time.monotonic())
                queued = self._items.get(timeout=left) if taken and left else self._items.get(block=not taken)
            except queue.Empty:
                break
            if queued is None:
                return taken, True
            if not taken:
                deadline = time.monotonic() + self._timeout
            taken.append(queued)
        return taken, False

    def _answer(self, items: list[T], futures: list[Future[R]]) -> None:
        try:
            results = self._handle(items)
            if len(results) != len(items):
                raise Json2VecError(f"{len(results)} results for {len(items)} items")
        except Exception as exc:
            # A thread that died here would leave every later request waiting for ever.
            for future in futures:
                future.set_exception(exc)
            return
        for future, result in zip(futures, results, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
