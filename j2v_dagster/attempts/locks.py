"""One run at a time in a partition.

The lock itself is the store's (`json2vec.storage.store.Store.lock`). In a local folder it is an flock on a file, let go
by the kernel when its holder dies. It belongs to the open file, which Python keeps from programs it starts, so ranks
that outlive a killed run hold nothing. On a network file system it is as good as the system's own flock.

In an object store it is a lease that its holder renews (`json2vec.storage.lease`). A holder that lost its lease,
because its machine stood still for a minute, fails at its next step, `PartitionLock.check`, before it publishes
anything.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from json2vec.errors import Json2VecError
from json2vec.storage.lock import Lock, LockHeld, LockLost
from json2vec.storage.store import Store

Purpose = Literal["predict", "load"]


class PartitionBusy(Json2VecError):
    """Another live run works on the partition; the message names it."""


class LeaseLost(Json2VecError):
    """This run's lease on a partition was taken over: it was not renewed in time."""


@dataclass(frozen=True)
class PartitionLock:
    """A partition's lock, held by this run.

    Attributes:
        lock: the store's.
        holder: who we are, such as ``run 0af1...``.
    """

    lock: Lock
    holder: str

    def check(self) -> None:
        """Do nothing while no other run can hold the partition.

        Raises:
            LeaseLost: somebody else may hold it by now.
        """
        try:
            self.lock.check()
        except LockLost as exc:
            raise LeaseLost(
                f"{self.holder} lost its lease {exc}. It publishes nothing. Remedy: run the partition again"
            ) from exc


@contextmanager
def partition_lock(
    store: Store, holder: str, purpose: Purpose = "predict", *, wait_s: float = 1.0
) -> Iterator[PartitionLock]:
    """Hold the partition's lock for ``purpose``.

    Args:
        store: the partition's output folder; made where it is missing.
        holder: who we are, such as ``run 0af1...``, for the message that others get.
        purpose: predicting does not wait for loading.
        wait_s: seconds to wait for another live holder; `clean` holds the lock for milliseconds. In an object store it
            takes longer to find out whether a holder is alive; see `Store.lock`.

    Raises:
        PartitionBusy: another live process holds it still; names that process's run.
    """
    since = datetime.now(UTC).isoformat(timespec="seconds")
    us = {"holder": holder, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
    with ExitStack() as stack:
        try:
            held = stack.enter_context(store.lock(f"_{purpose}.lock", us, wait_s=wait_s))
        except LockHeld as exc:
            raise PartitionBusy(
                f"{_describe(exc.note)} works on {store.root} ({purpose}). One run at a time may; this one ({holder}) "
                "changed nothing. Remedy: wait until it has ended, or cancel it, then run again"
            ) from exc
        yield PartitionLock(held, holder)


def _describe(note: object) -> str:
    if not isinstance(note, dict) or not {"holder", "pid", "host", "since"} <= note.keys():
        return "another process"
    return f"{note['holder']} (process {note['pid']} on {note['host']}, since {note['since']})"
