"""Which of two loads of a partition is the newer: the rule that every warehouse applies inside its own commit.

A lock cannot keep a process out that was paused after it had looked at the lock. So a table notes what each partition
shows, and a load that is not newer is refused by the commit itself. An example: a load of attempt 7 stands still for an
hour, attempt 8 is loaded meanwhile; the load of attempt 7 wakes up, finds 8 noted and changes nothing.

Numbers come from the partition's own counter (`j2v_dagster.attempts.folder`), never from a clock. ``counter`` is the
counter's id: numbers of two counters, as after an output was removed and begun anew, are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from j2v_dagster.warehouse.base import StaleLoad

SEQUENCE, COUNTER, ATTEMPT, MANIFEST = "sequence", "counter", "attempt", "manifest_sha256"
ATTEMPT_TAG = "j2v/attempt"
"""The tag of a Dagster run that says which attempt is to be loaded, be it an older one."""


def check_newer(where: str, shown: Mapping[str, str] | None, note: Mapping[str, str] | None) -> None:
    """Do nothing where a load may replace what the table shows.

    Args:
        where: begins the message: ``table URI, partition KEY``.
        shown: the note of the load that the table shows; None where it has none, as tables of earlier versions.
        note: the note of the load that wants to be committed; None is not compared.

    Raises:
        StaleLoad: the table shows a newer attempt, or another one of the same number.
    """
    if not shown or not note or SEQUENCE not in shown or SEQUENCE not in note:
        return
    if shown.get(COUNTER) != note.get(COUNTER):
        return
    there, ours = int(shown[SEQUENCE]), int(note[SEQUENCE])
    if ours > there or (ours == there and _same(shown, note)):
        return
    # Attempts of earlier versions have no number; their names sort by time.
    if ours == there == 0 and note.get(ATTEMPT, "") > shown.get(ATTEMPT, ""):
        return
    raise StaleLoad(
        f"{where}: it shows attempt {shown.get(ATTEMPT)} (number {there}); expected an older one than the attempt to "
        f"load, {note.get(ATTEMPT)} (number {ours}). Nothing was changed. Remedy: materialize the partition again, or "
        f"start the load with the run tag {ATTEMPT_TAG}={note.get(ATTEMPT)} to go back to it on purpose"
    )


def dump_note(note: Mapping[str, str]) -> str:
    """A note as text, for a warehouse that keeps texts."""
    return json.dumps(dict(note), sort_keys=True, separators=(",", ":"))


def parse_note(text: str | None) -> dict[str, str] | None:
    """The note in a text of `dump_note`; None where there is none."""
    return None if not text else {str(name): str(value) for name, value in json.loads(text).items()}


def _same(shown: Mapping[str, str], note: Mapping[str, str]) -> bool:
    return all(shown.get(name) == note.get(name) for name in (ATTEMPT, MANIFEST))
