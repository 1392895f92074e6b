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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from j2v_dagster.attempts.folder import ATTEMPT_NAME, LAUNCHES, MANIFEST, VERIFIED, Attempt, PartitionOutput
from j2v_dagster.attempts.locks import LeaseLost, PartitionBusy, partition_lock
from j2v_dagster.attempts.owner import partition_folders
from json2vec.errors import Json2VecError, StoreError
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store

PENDING_DAYS = 7.0
_DAY_S = 86_400.0
_WRITE_DAYS = 1 / 24  # no write of a small file takes an hour
_TEMPORARY = re.compile(r"\.[^/]+\.[0-9a-f]{8}\.tmp")
_REMOVED = ".removed-"


@dataclass(frozen=True)
class Removal:
    """One attempt that was removed, or would be.

    Attributes:
        path: full address of the attempt's folder.
        age_days: days since anything was written in it.
        bytes: that the disk or bucket gets back; files that another attempt adopted by a link give none.
        state: what it was, in a word or two.
    """

    path: str
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
        return sum(removal.bytes for removal in self.removed)

    def summary(self) -> str:
        """A line for each attempt and each partition that was left alone, and a total."""
        verb = "would remove" if self.dry_run else "removed"
        lines = [
            f"{verb} {removal.path} ({removal.state}, {removal.age_days:.1f} days, {removal.bytes:,} bytes)"
            for removal in self.removed
        ]
        lines += [f"left alone: {text}" for text in self.skipped]
        return "\n".join([*lines, f"{verb} {len(self.removed)} attempts, {self.bytes:,} bytes"])


def clean(
    root: str | os.PathLike[str] | Store,
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
    if not store.exists():
        raise StoreError(f"{root} is no folder. Remedy: pass the pipeline's output folder")
    removed: list[Removal] = []
    skipped: list[str] = []
    for folder in partition_folders(store):
        output = PartitionOutput(store.below(folder), folder)
        try:
            # A run that begins now waits for what is done below. Removing what was set aside needs no lock.
            us = f"clean (process {os.getpid()})"
            with (
                partition_lock(output.store, us, wait_s=0.0) as predicting,
                partition_lock(output.store, us, "load", wait_s=0.0) as loading,
            ):
                removals = list(_removable(output, older_than_days, pending_days))
                doomed: list[str] = []
                for _, attempt in [] if dry_run else removals:
                    # This process may have stood still, and a run have begun, since it looked.
                    predicting.check()
                    loading.check()
                    doomed.append(_set_aside(output, attempt))
                doomed += [] if dry_run else _leftovers(output)
            for name in dict.fromkeys(doomed):
                output.store.remove_tree(name)
            removed += [removal for removal, _ in removals]
            removed += _killed_writes(output, older_than_days, dry_run=dry_run)
        except (PartitionBusy, LeaseLost, Json2VecError, OSError, ValueError, RecursionError) as exc:
            skipped.append(f"{output.root}: {exc}")
    try:
        removed += _old_launches(store, older_than_days, dry_run=dry_run)
    except OSError as exc:
        skipped.append(f"{store.uri(LAUNCHES)}: {exc}")
    return CleanReport(tuple(removed), tuple(skipped), dry_run)


def _removable(
    output: PartitionOutput, older_than_days: float, pending_days: float
) -> Iterator[tuple[Removal, Attempt]]:
    current = output.current()
    kept = None if current is None else current["attempt"]
    waiting = _waiting(output, kept)
    now = output.store.now()  # by the clock that set the times of what lies there
    for name in output.store.folders("attempts", links=False):
        if name == kept or not ATTEMPT_NAME.fullmatch(name):
            continue
        attempt = output.attempt(name)
        usage = attempt.store.usage()
        age = (now - usage.modified) / _DAY_S
        if age >= (pending_days if name in waiting else older_than_days):
            yield Removal(attempt.uri, age, usage.bytes, waiting.get(name) or _state(attempt)), attempt


def _waiting(output: PartitionOutput, current: str | None) -> dict[str, str]:
    """Attempts that the next run, check or load may need, and why."""
    states = {attempt.name: "complete, not checked" if attempt.committed else "failed, resumable"
             for attempt in output.resumable()}  # fmt: skip
    committed = [attempt for attempt in output.attempts() if attempt.committed]
    if committed and committed[-1].name != current and _verdict(committed[-1]) is not False:
        states[committed[-1].name] = "complete, not loaded"
    return states


def _state(attempt: Attempt) -> str:
    if not attempt.committed:
        return "failed, superseded"
    return "refused by its checks" if _verdict(attempt) is False else "complete, not current"


def _verdict(attempt: Attempt) -> bool | None:
    try:
        return bool(json.loads(attempt.store.read(VERIFIED))["passed"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _set_aside(output: PartitionOutput, attempt: Attempt) -> str:
    """Make sure that nobody takes an attempt for one any more; returns the folder that is left to be removed."""
    name = f"{_REMOVED}{attempt.name}"
    # The manifest first: whatever is left when we are interrupted is no complete attempt.
    output.store.set_aside(f"attempts/{attempt.name}", name, first=MANIFEST)
    shutil.rmtree(attempt.path, ignore_errors=True)  # the job and the logs that this machine kept elsewhere
    return name


def _leftovers(output: PartitionOutput) -> list[str]:
    """Attempts that an earlier clean set aside and did not live to remove."""
    return [name for name in output.store.folders(links=False) if name.startswith(_REMOVED)]


def _killed_writes(output: PartitionOutput, older_than_days: float, *, dry_run: bool) -> list[Removal]:
    """Remove the temporary files that writes left whose process was killed, in the partition and in its attempts."""
    removed = []
    now, least = output.store.now(), max(older_than_days, _WRITE_DAYS)
    for folder in ("", *(f"attempts/{name}" for name in output.store.folders("attempts", links=False))):
        above = f"{folder}/" if folder else ""
        # Names are listed in order, and those with a dot in front come first: nothing else has to be looked at.
        for entry in output.store.list(folder, after=f"{above}."):
            name = entry.path.removeprefix(above)
            if not name.startswith("."):
                break
            age = (now - entry.modified) / _DAY_S
            if _TEMPORARY.fullmatch(name) and age >= least:
                removed.append(Removal(output.store.uri(entry.path), age, entry.size, "left of a killed write"))
    if not dry_run:
        output.store.delete(*[removal.path.removeprefix(f"{output.root}/") for removal in removed])
    return removed


def _old_launches(store: Store, older_than_days: float, *, dry_run: bool) -> list[Removal]:
    """Remove the jobs and logs of old backfills in a single run."""
    removed = []
    for name in store.folders(LAUNCHES, links=False):
        folder = f"{LAUNCHES}/{name}"
        usage = store.usage(folder)
        if (age := (store.now() - usage.modified) / _DAY_S) >= older_than_days:
            removed.append(Removal(store.uri(folder), age, usage.bytes, "logs of a backfill"))
            if not dry_run:
                store.remove_tree(folder)
    return removed
