"""``j2v-dagster clean``: remove attempts that nobody needs any more.

An attempt goes only if it is not the current one, no live run holds its partition, and nothing was written in it for
``older_than_days``. What may still be of use stays longer, ``pending_days``: attempts whose sealed segments the next
run would adopt, and a committed one that waits for its checks or its load (a run holds no lock between its steps).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from j2v_dagster.attempts.folder import CURRENT, LAUNCHES, MANIFEST, VERIFIED, Attempt, PartitionOutput
from j2v_dagster.attempts.locks import PartitionBusy, partition_lock
from json2vec.errors import StoreError
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store

PENDING_DAYS = 7.0
_DAY_S = 86_400.0
_ATTEMPT = re.compile(r"\d{8}T\d{6,12}Z-[^/]{1,8}-[0-9a-f]{4}")
_REMOVED = ".removed-"


@dataclass(frozen=True)
class Removal:
    """One attempt that was removed, or would be.

    Attributes:
        path: of the attempt, or its URI. age_days: since anything was written in it. state: what it was, in a word or
            two. bytes: that the disk or bucket gets back; files that another attempt adopted by a link give none.
    """

    path: Path | str
    age_days: float
    bytes: int
    state: str


@dataclass(frozen=True)
class CleanReport:
    """What `clean` did. ``skipped``: partitions that were left alone, with the reason."""

    removed: tuple[Removal, ...]
    skipped: tuple[str, ...]
    dry_run: bool

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.removed)

    def summary(self) -> str:
        """A line for each attempt and each partition that was left alone, and a total."""
        verb = "would remove" if self.dry_run else "removed"
        lines = [
            f"{verb} {one.path} ({one.state}, {one.age_days:.1f} days, {one.bytes:,} bytes)" for one in self.removed
        ]
        lines += [f"left alone: {text}" for text in self.skipped]
        return "\n".join([*lines, f"{verb} {len(self.removed)} attempts, {self.bytes:,} bytes"])


def clean(
    root: str | os.PathLike[str],
    *,
    older_than_days: float,
    pending_days: float | None = None,
    dry_run: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> CleanReport:
    """Remove old attempts below ``root``.

    Args:
        root: a pipeline's output folder, or one partition's; local or ``s3://``.
        older_than_days: days since an attempt was last written to.
        pending_days: the same for attempts that the next run, check or load may need; default: the larger of
            ``older_than_days`` and `PENDING_DAYS`.
        dry_run: tell only.
        storage_options: for the object store's client.

    Raises:
        ValueError: a negative number of days.
        StoreError: ``root`` is no folder.
    """
    pending_days = max(older_than_days, PENDING_DAYS) if pending_days is None else pending_days
    for name, value in (("older_than_days", older_than_days), ("pending_days", pending_days)):
        if not value >= 0:
            raise ValueError(f"{name} is {value}; expected 0 or more days")
    store = open_store(root, storage_options)
    local = store.local_path()
    if local is not None and not local.is_dir():
        raise StoreError(f"{root} is no folder. Remedy: pass the pipeline's output folder")
    removed: list[Removal] = []
    skipped: list[str] = []
    for folder in _partitions(store):
        output = PartitionOutput(local / folder if local is not None else store.uri(folder), folder, storage_options)
        try:
            # A run that begins now waits for what is done below. Removing what was set aside needs no lock.
            us = f"clean (process {os.getpid()})"
            with (
                partition_lock(output.store, us, wait_s=0.0),
                partition_lock(output.store, us, "load", wait_s=0.0),
            ):
                found = list(_removable(output, older_than_days, pending_days))
                doomed = [] if dry_run else [one for _, attempt in found for one in _set_aside(attempt)]
                doomed += [] if dry_run else _leftovers(output)
        except (PartitionBusy, OSError, ValueError) as exc:
            skipped.append(f"{output.root}: {exc}")
            continue
        for path in dict.fromkeys(doomed):
            shutil.rmtree(path, ignore_errors=not path.exists())
        removed += [removal for removal, _ in found]
    removed += _old_launches(local, older_than_days, dry_run=dry_run) if local is not None else []
    return CleanReport(tuple(removed), tuple(skipped), dry_run)


def _partitions(store: Store, folder: str = "") -> Iterator[str]:
    """Folders with attempts in them, at any depth; links are not followed."""
    local = store.local_path()
    names = store.folders(folder)
    if "attempts" in names and not (local is not None and (local / folder / "attempts").is_symlink()):
        yield folder
        return
    for name in names:
        inside = f"{folder}/{name}" if folder else name
        if local is None or not (local / inside).is_symlink():
            yield from _partitions(store, inside)


def _removable(
    output: PartitionOutput, older_than_days: float, pending_days: float
) -> Iterator[tuple[Removal, Attempt]]:
    current = output.current()
    if current is not None and not isinstance(current.get("attempt"), str):
        raise ValueError(f"{output.store.uri(CURRENT)} names no attempt; nothing is removed beside a wrong pointer")
    kept = None if current is None else current["attempt"]
    waiting = _waiting(output, kept)
    now = time.time()
    for attempt in output.attempts():
        linked = attempt.remote is None and attempt.path.is_symlink()
        if attempt.name == kept or linked or not _ATTEMPT.fullmatch(attempt.name):
            continue
        size, written = _measure(attempt)
        age = (now - written) / _DAY_S
        if age >= (pending_days if attempt.name in waiting else older_than_days):
            where = attempt.path if attempt.remote is None else attempt.uri
            yield Removal(where, age, size, waiting.get(attempt.name) or _state(attempt)), attempt


def _waiting(output: PartitionOutput, current: str | None) -> dict[str, str]:
    """Attempts that the next run, check or load may need, and why."""
    found = {attempt.name: "complete, not checked" if attempt.committed else "failed, resumable"
             for attempt in output.resumable()}  # fmt: skip
    committed = [attempt for attempt in output.attempts() if attempt.committed]
    if committed and committed[-1].name != current and _verdict(committed[-1]) is not False:
        found[committed[-1].name] = "complete, not loaded"
    return found


def _state(attempt: Attempt) -> str:
    if not attempt.committed:
        return "failed, superseded"
    return "refused by its checks" if _verdict(attempt) is False else "complete, not current"


def _verdict(attempt: Attempt) -> bool | None:
    try:
        return bool(json.loads(attempt.store.read(VERIFIED))["passed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measure(attempt: Attempt) -> tuple[int, float]:
    """Bytes that removing an attempt gives back, and when anything in it was last written (seconds since 1970)."""
    if attempt.remote is not None:
        entries = list(attempt.remote.list())
        return sum(one.size for one in entries), max((one.modified for one in entries), default=0.0)
    size, newest = 0, attempt.path.stat().st_mtime
    for parent, _, names in os.walk(attempt.path):
        for name in names:
            status = os.lstat(os.path.join(parent, name))
            newest = max(newest, status.st_mtime)
            size += status.st_size if status.st_nlink == 1 else 0
    return size, newest


def _set_aside(attempt: Attempt) -> list[Path]:
    """Make sure that nobody takes an attempt for one any more; returns local folders that are left to be removed."""
    if attempt.remote is not None:
        # The manifest first: whatever is left when we are interrupted is no complete attempt.
        names = [entry.path for entry in attempt.remote.list()]
        for name in sorted(names, key=lambda one: one != MANIFEST):
            attempt.remote.delete(name)
        return [attempt.path]
    target = attempt.path.parent.parent / f"{_REMOVED}{attempt.name}"
    os.rename(attempt.path, target)
    return [target]


def _old_launches(root: Path, older_than_days: float, *, dry_run: bool) -> list[Removal]:
    """Remove the jobs and logs of old backfills in a single run."""
    removed = []
    for folder in sorted((root / LAUNCHES).glob("*")):
        size, written = _measure(Attempt(folder.name, folder))
        if (age := (time.time() - written) / _DAY_S) >= older_than_days:
            removed.append(Removal(folder, age, size, "logs of a backfill"))
            if not dry_run:
                shutil.rmtree(folder)
    return removed


def _leftovers(output: PartitionOutput) -> list[Path]:
    """Attempts that an earlier clean set aside and did not live to remove."""
    return sorted(output.root.glob(f"{_REMOVED}*")) if isinstance(output.root, Path) else []
