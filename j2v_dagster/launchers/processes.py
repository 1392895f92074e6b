"""Processes of this machine, told apart from later ones that got the same id. Imports neither torch nor dagster."""

from __future__ import annotations

import psutil

_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def descendants(root: int) -> list[psutil.Process]:
    """The processes below ``root`` that still run, parents before children; none where ``root`` has ended.

    Args:
        root: a process id; that process itself is left out.
    """
    try:
        below = psutil.Process(root).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process for process in below if _runs(process)]


def started_at(pid: int) -> float | None:
    """When a process started, in seconds since boot to the hundredth: with the id, this names one process for good.

    Seconds since boot, because the time of day may be set while the process runs.

    Returns:
        None where no process has this id.
    """
    try:
        return _seconds_since_boot(psutil.Process(pid))
    except psutil.Error:
        return None


def is_running(pid: int, started: float | None) -> bool:
    """Whether the process that started at ``started`` still runs. A zombie does not, nor does a later one's id count.

    Args:
        pid: its id.
        started: what `started_at` said of it.
    """
    try:
        process = psutil.Process(pid)
        return _seconds_since_boot(process) == started and _runs(process)
    except psutil.Error:  # ended, or another user's by now
        return False


def _seconds_since_boot(process: psutil.Process) -> float:
    return round(process.create_time() - psutil.boot_time(), 2)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() not in _ENDED
    except psutil.NoSuchProcess:
        return False
