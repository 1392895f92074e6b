"""What holding a lock of a store means, and the two ways in which it can go wrong."""

from __future__ import annotations

from typing import Any, Protocol

from json2vec.errors import Json2VecError


class Lock(Protocol):
    """A lock that this process holds; see `Store.lock`."""

    def check(self) -> None:
        """Do nothing while the lock is certainly ours.

        Raises:
            LockLost: another process may hold it by now.
        """
        ...


class LockHeld(Json2VecError):
    """Another living process holds the lock.

    Attributes:
        where: the full address of the lock.
        note: what its holder wrote into it, as plain values; None where that cannot be read.
    """

    def __init__(self, where: str, note: Any) -> None:
        super().__init__(f"{where} is held by another process: {note}. Remedy: wait until it has ended")
        self.where, self.note = where, note


class LockLost(Json2VecError):
    """This process held a lock and may have lost it, because it did not renew it in time. The message names the lock
    and says why."""
