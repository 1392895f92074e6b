"""`Lease`, the lock of an object store: an object that its holder writes again every `RENEW_S` seconds.

Every renewal is written over the holder's own last version and no other. Whoever finds the object unchanged for
`LEASE_S` seconds of its own clock takes it over; no two clocks are compared. A holder that lost its lease to a pause,
or whose renewals hang, finds out with `Lease.check`, before it publishes anything. What it does after that is fenced
where it takes effect, as the tables are (`j2v_dagster.warehouse.fence`): a lease alone cannot do that.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from json2vec.errors import StoreError
from json2vec.storage.lock import Lock, LockHeld, LockLost
from json2vec.storage.store import Store

LEASE_S = 60.0
"""Seconds without a renewal after which a lease counts as abandoned."""
RENEW_S = 15.0
"""Seconds from one renewal to the next."""
POLL_S = 2.0
"""Seconds from one look at another's lease to the next."""


@contextmanager
def lease(store: Store, name: str, note: Mapping[str, object], *, wait_s: float) -> Generator[Lock]:
    """`Store.lock` for a store whose only means are conditional writes."""
    held = Lease(store, name, note)
    held.acquire(wait_s)
    try:
        yield held
    finally:
        held.release()


class Lease:
    """A lease on one object; a thread renews it while it is held.

    Args:
        store: the store that has the object; it must support ``if_absent`` and ``if_version``.
        name: path of the object in the store.
        note: plain values for others to read, such as who holds it.
    """

    def __init__(self, store: Store, name: str, note: Mapping[str, object]) -> None:
        self._store, self._name = store, name
        self._us = {**note, "token": secrets.token_hex(8)}
        self._version = ""
        self._renewals = 0
        self._renewed = _clock()
        self._lost = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, wait_s: float) -> None:
        """Take the lease.

        Args:
            wait_s: seconds to wait for a holder that is alive.

        Raises:
            LockHeld: the holder is alive and has renewed it.
        """
        deadline = time.monotonic() + wait_s
        seen, since = "", _clock()
        while not self._try(seen if _clock() - since >= LEASE_S else None):
            try:
                version, value = self._store.stat(self._name).version, json.loads(self._store.read(self._name))
            except (FileNotFoundError, ValueError):
                continue
            if version != seen:
                # Seen changing: somebody is alive behind it. A lease that was let go is free at once.
                if value.get("released"):
                    if self._try(version):
                        break
                elif seen and time.monotonic() >= deadline:
                    raise LockHeld(self._store.uri(self._name), value)
                seen, since = version, _clock()
            time.sleep(POLL_S)
        self._thread = threading.Thread(target=self._renew, name=f"j2v-lease-{self._name}", daemon=True)
        self._thread.start()

    def _try(self, expected_version: str | None) -> bool:
        """Write the lease where there is none (None), or in place of ``expected_version``; False where that fails."""
        began = _clock()
        try:
            self._version = self._write(expected_version)
        except FileExistsError:
            return False
        self._renewed = began
        return True

    def _write(self, expected_version: str | None) -> str:
        # The number makes every renewal another version.
        data = json.dumps({**self._us, "renewals": self._renewals}).encode()
        return self._store.write(self._name, data, if_absent=expected_version is None, if_version=expected_version)

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_S):
            self._renewals += 1
            began = _clock()  # before the write: others count from when it arrived, which is later
            try:
                self._version = self._rewrite()
                self._renewed = began
            except FileExistsError:
                self._lost = "another run took it over"
            except (StoreError, FileNotFoundError) as exc:  # the store may come back before the lease runs out
                if self._too_old():
                    self._lost = f"it could not be renewed: {exc}"
            if self._lost:
                return

    def _rewrite(self) -> str:
        """Write the next renewal over our last one.

        Raises:
            FileExistsError: the object is another's.
        """
        try:
            return self._write(self._version)
        except FileExistsError:
            # A renewal may have arrived though nobody told us so: then the object is at a later version of ours.
            version, data = self._store.stat(self._name).version, self._store.read(self._name)
            if f'"token": "{self._us["token"]}"'.encode() not in data:  # 64 random bits: nobody else's object has them
                raise
            return self._write(version)

    def _too_old(self) -> bool:
        return _clock() - self._renewed >= LEASE_S - RENEW_S

    def check(self) -> None:
        """Do nothing while the lease is certainly ours.

        Raises:
            LockLost: somebody else may hold it by now, or will soon: the last renewal is too long ago.
        """
        lost = self._lost
        if not lost and self._too_old():
            lost = f"its last renewal was {_clock() - self._renewed:.0f} s ago, and it runs out after {LEASE_S:.0f} s"
        if lost:
            raise LockLost(f"{self._store.uri(self._name)}: {lost}")

    def release(self) -> None:
        """Let go, so that the next holder need not wait for the lease to run out."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._lost:
            return
        data = json.dumps({**self._us, "released": True, "renewals": self._renewals}).encode()
        try:
            self._store.write(self._name, data, if_version=self._version)
        except (StoreError, FileExistsError, FileNotFoundError):
            return  # it runs out by itself


def _clock() -> float:
    """Seconds that go on while the machine is suspended, where the system can tell."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)
