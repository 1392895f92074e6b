"""One run at a time in a partition: a lock on a file of its output folder, let go by the kernel when its holder dies.

flock belongs to the open file, which Python keeps from programs it starts, so ranks that outlive a killed run hold
nothing. On a network file system it is as good as the system's own flock.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from json2vec.errors import Json2VecError

Purpose = Literal["predict", "load"]
_POLL_S = 0.1


class PartitionBusy(Json2VecError):
    """Another live run works on the partition; the message names it."""


@contextmanager
def partition_lock(root: Path, holder: str, purpose: Purpose = "predict", *, wait_s: float = 1.0) -> Iterator[None]:
    """Hold the partition's lock for ``purpose``.

    Args:
        root: the partition's output folder; made where it is missing.
        holder: who we are, such as ``run 0af1...``, for the message that others get.
        wait_s: seconds to wait for another holder; `clean` holds the lock for milliseconds.

    Raises:
        PartitionBusy: another live process holds it still; names that process's run.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"_{purpose}.lock"
    # Never removed: whoever locked a removed file and whoever made it anew would both hold "the" lock.
    with open(path, "a+b") as file:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise PartitionBusy(
                        f"{_holder(path)} works on {root} ({purpose}). One run at a time may; this one "
                        f"({holder}) changed nothing. Remedy: wait until it has ended, or cancel it, then run again"
                    ) from None
                time.sleep(_POLL_S)
        file.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        us = {"holder": holder, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
        file.write(json.dumps(us).encode())
        file.flush()
        yield


def _holder(path: Path) -> str:
    try:
        value = json.loads(path.read_bytes())
        return f"{value['holder']} (process {value['pid']} on {value['host']}, since {value['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
