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

from j2v_dagster.attempts import CURRENT, VERIFIED, Attempt, PartitionOutput
from j2v_dagster.locks import PartitionBusy, partition_lock
from json2vec.errors import StoreError

PENDING_DAYS = 7.0
_DAY_S = 86_400.0
_ATTEMPT = re.compile(r"\d{8}T\d{6,12}Z-[^/]{1,8}-[0-9a-f]{4}")
_REMOVED = ".removed-"


@dataclass(frozen=True)
class Removal:
    """One attempt that was removed, or would be.

    Attributes:
        path: of the attempt. age_days: since anything was written in it. state: what it was, in a word or two.
        bytes: that the disk gets back; files that another attempt adopted by a link give none.
    """

    path: Path
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
) -> CleanReport:
    """Remove old attempts below ``root``.

    Args:
        root: a pipeline's output folder, or one partition's.
        older_than_days: days since an attempt was last written to.
        pending_days: the same for attempts that the next run, check or load may need; default: the larger of
            ``older_than_days`` and `PENDING_DAYS`.
        dry_run: tell only.

    Raises:
        ValueError: a negative number of days.
        StoreError: ``root`` is no folder.
    """
    pending_days = max(older_than_days, PENDING_DAYS) if pending_days is None else pending_days
    for name, value in (("older_than_days", older_than_days), ("pending_days", pending_days)):
        if not value >= 0:
            raise ValueError(f"{name} is {value}; expected 0 or more days")
    if not Path(root).is_dir():
        raise StoreError(f"{root} is no folder. Remedy: pass the pipeline's output folder")
    removed: list[Removal] = []
    skipped: list[str] = []
    for folder in _partitions(Path(root).absolute()):
        output = PartitionOutput(folder, folder.name)
        try:
            # A run that begins now waits for the renames below. Removing what is renamed needs no lock.
            us = f"clean (process {os.getpid()})"
            with partition_lock(folder, us, wait_s=0.0), partition_lock(folder, us, "load", wait_s=0.0):
                found = list(_removable(output, older_than_days, pending_days))
                doomed = [] if dry_run else [_set_aside(one.path) for one in found]
                doomed += [] if dry_run else _leftovers(folder)
        except PartitionBusy as exc:
            skipped.append(f"{folder}: {exc}")
            continue
        except (OSError, ValueError) as exc:
            skipped.append(f"{folder}: {exc}")
            continue
        for path in dict.fromkeys(doomed):
            shutil.rmtree(path)
        removed += found
    return CleanReport(tuple(removed), tuple(skipped), dry_run)


def _partitions(root: Path) -> Iterator[Path]:
    """Folders with attempts in them, at any depth; links are not followed."""
    for folder, names, _ in os.walk(root):
        names.sort()
        if "attempts" in names and not Path(folder, "attempts").is_symlink():
            names.clear()
            yield Path(folder)


def _removable(output: PartitionOutput, older_than_days: float, pending_days: float) -> Iterator[Removal]:
    current = output.current()
    if current is not None and not isinstance(current.get("attempt"), str):
        raise ValueError(f"{output.root / CURRENT} names no attempt; nothing is removed beside a pointer that is wrong")
    kept = None if current is None else current["attempt"]
    waiting = _waiting(output, kept)
    now = time.time()
    for attempt in output.attempts():
        if attempt.name == kept or attempt.path.is_symlink() or not _ATTEMPT.fullmatch(attempt.name):
            continue
        size, written = _measure(attempt.path)
        age = (now - written) / _DAY_S
        if age >= (pending_days if attempt.name in waiting else older_than_days):
            yield Removal(attempt.path, age, size, waiting.get(attempt.name) or _state(attempt))


def _waiting(output: PartitionOutput, current: str | None) -> dict[str, str]:
    """Attempts that the next run, check or load may need, and why."""
    found = {attempt.name: "failed, resumable" for attempt in output.resumable()}
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
        return bool(json.loads((attempt.path / VERIFIED).read_bytes())["passed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measure(folder: Path) -> tuple[int, float]:
    """Bytes that removing ``folder`` gives back, and when anything in it was last written (seconds since 1970)."""
    size, newest = 0, folder.stat().st_mtime
    for parent, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(parent, name))
            newest = max(newest, status.st_mtime)
            size += status.st_size if status.st_nlink == 1 else 0
    return size, newest


def _set_aside(path: Path) -> Path:
    """Rename an attempt so that nobody takes it for one, in an instant."""
    target = path.parent.parent / f"{_REMOVED}{path.name}"
    os.rename(path, target)
    return target


def _leftovers(folder: Path) -> list[Path]:
    """Attempts that an earlier clean set aside and did not live to remove."""
    return sorted(folder.glob(f"{_REMOVED}*"))
