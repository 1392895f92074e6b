"""One run at a time in a partition.

In a local folder the lock is an flock on a file, let go by the kernel when its holder dies. It belongs to the open
file, which Python keeps from programs it starts, so ranks that outlive a killed run hold nothing. On a network file
system it is as good as the system's own flock.

In an object store it is a lease: an object that its holder writes again every `RENEW_S` seconds, always over its own
last version. Whoever finds it unchanged for `LEASE_S` seconds of its own clock (no two clocks are compared) takes it
over. A holder that lost its lease to such a pause fails at its next step, `Lease.check`, before it publishes anything.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from json2vec.errors import Json2VecError, StoreError
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store

Purpose = Literal["predict", "load"]
LEASE_S = 60.0
"""Seconds without a renewal after which a lease counts as abandoned."""
RENEW_S = 15.0
_POLL_S = 0.1
_POLL_STORE_S = 2.0


class PartitionBusy(Json2VecError):
    """Another live run works on the partition; the message names it."""


class LeaseLost(Json2VecError):
    """This run's lease on a partition was taken over: it was not renewed in time."""


@contextmanager
def partition_lock(
    root: str | os.PathLike[str] | Store, holder: str, purpose: Purpose = "predict", *, wait_s: float = 1.0
) -> Iterator[Lease | None]:
    """Hold the partition's lock for ``purpose``; yields the `Lease` where there is one.

    Args:
        root: the partition's output folder; made where it is missing.
        holder: who we are, such as ``run 0af1...``, for the message that others get.
        wait_s: seconds to wait for another live holder; `clean` holds the lock for milliseconds. Whether the holder of
            a lease is alive takes up to `RENEW_S` seconds to find out, that it is not `LEASE_S`.

    Raises:
        PartitionBusy: another live process holds it still; names that process's run.
    """
    store = open_store(root)
    folder = store.local_path()
    if folder is None:
        lease = Lease(store, holder, purpose)
        lease.acquire(wait_s)
        try:
            yield lease
        finally:
            lease.release()
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"_{purpose}.lock"
    # Never removed: whoever locked a removed file and whoever made it anew would both hold "the" lock.
    with open(path, "a+b") as file:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise _busy(_describe(_read(path)), str(folder), purpose, holder) from None
                time.sleep(_POLL_S)
        file.truncate(0)
        file.write(json.dumps(_us(holder)).encode())
        file.flush()
        yield None


class Lease:
    """A lock in an object store; see the module. Threads: one renews while the lease is held."""

    def __init__(self, store: Store, holder: str, purpose: Purpose) -> None:
        self._store, self._holder, self._purpose = store, holder, purpose
        self._name = f"_{purpose}.lock"
        self._us = {**_us(holder), "token": secrets.token_hex(8)}
        self._version = ""
        self._renewals = 0
        self._lost = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, wait_s: float) -> None:
        """Take the lease, or raise `PartitionBusy` naming a holder that renews it."""
        deadline = time.monotonic() + wait_s
        seen, since = "", time.monotonic()
        while not self._try(seen if time.monotonic() - since >= LEASE_S else None):
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
                    raise _busy(_describe(value), self._store.root, self._purpose, self._holder)
                seen, since = version, time.monotonic()
            time.sleep(_POLL_STORE_S)
        self._thread = threading.Thread(target=self._renew, name=f"j2v-lease-{self._purpose}", daemon=True)
        self._thread.start()

    def _try(self, over: str | None) -> bool:
        """Write the lease where there is none, or over version ``over``."""
        try:
            self._version = self._write(over)
        except FileExistsError:
            return False
        return True

    def _write(self, over: str | None) -> str:
        # The number makes every renewal another version.
        data = json.dumps({**self._us, "renewals": self._renewals}).encode()
        return self._store.write(self._name, data, if_absent=over is None, if_version=over)

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._stop.wait(RENEW_S):
            self._renewals += 1
            try:
                self._version = self._write(self._version)
                renewed = time.monotonic()
            except FileExistsError:
                self._lost = "another run took it over"
            except (StoreError, FileNotFoundError) as exc:  # the store may come back before the lease runs out
                if time.monotonic() - renewed >= LEASE_S - RENEW_S:
                    self._lost = f"it could not be renewed: {exc}"
            if self._lost:
                return

    def check(self) -> None:
        """Raise `LeaseLost` if somebody else may hold the partition by now."""
        if self._lost:
            raise LeaseLost(
                f"{self._holder} lost its lease {self._store.uri(self._name)}: {self._lost}. It publishes nothing. "
                "Remedy: run the partition again"
            )

    def release(self) -> None:
        """Let go, so that the next run need not wait for the lease to run out."""
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


def _us(holder: str) -> dict[str, object]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"holder": holder, "pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _busy(other: str, where: str, purpose: str, holder: str) -> PartitionBusy:
    return PartitionBusy(
        f"{other} works on {where} ({purpose}). One run at a time may; this one ({holder}) changed nothing. Remedy: "
        "wait until it has ended, or cancel it, then run again"
    )


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _describe(value: object) -> str:
    if not isinstance(value, dict) or not {"holder", "pid", "host", "since"} <= value.keys():
        return "another process"
    return f"{value['holder']} (process {value['pid']} on {value['host']}, since {value['since']})"
