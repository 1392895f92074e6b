"""One tick of the shard sensor, without Dagster: which folders are new or have changed, in bounded work.

Folders are looked at in the order of their listing, in rounds: a tick goes on where the one before stopped, always
between two folders, and begins anew after the last. Whether a version of a folder is done is decided outside
(``handled``: the runs that Dagster knows); the cursor only saves asking again. It holds 8 bytes for about 64
neighbouring folders: a digest over their names, versions and states. A group whose digest it knows needs no more looks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from j2v_dagster.shards.source import Folder, ShardSource, list_folders
from json2vec.storage.store import Store

CURSOR_FORMAT = 2
_BYTES = 8  # of a digest in the cursor: two of 10**5 alike by chance in 10**7 looks have odds of 1 to 10**7
_GROUP_FOLDERS = 64  # on average; a power of two
_MAX_GROUP_FOLDERS = 256
_KNOWN_FOLDERS = 256


@dataclass(frozen=True)
class ScanOptions:
    """How a tick looks at folders.

    Attributes:
        min_age_s: seconds that a folder's newest shard must have rested before the folder counts as written.
        marker: name of a file such as ``_SUCCESS`` that says so at once (see `Folder.is_stable`).
        max_keys: files listed by one tick; the folder that reaches it is still read to its end.
        max_requests: most versions of folders asked for by one tick.
        max_lookups: calls of ``handled`` after which a tick stops at the next group.
    """

    min_age_s: float = 60.0
    marker: str | None = None
    max_keys: int = 20_000
    max_requests: int = 20
    max_lookups: int = 1_000


@dataclass
class Cursor:
    """Where the round is, and what needs no closer look.

    Attributes:
        after: folder behind which the next tick goes on; empty at the beginning of a round.
        seen: digests of the groups of the last whole round.
        fresh: digests of the groups of this round so far.
        known: digests of folder versions found to be handled lately, the oldest first.
    """

    after: str = ""
    seen: set[bytes] = field(default_factory=set)
    fresh: set[bytes] = field(default_factory=set)
    known: dict[bytes, None] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """A cursor from its text; anything unreadable begins anew, which costs time and repeats nothing."""
        try:
            value = json.loads(text or "")
            if value["format"] != CURSOR_FORMAT or not isinstance(value["after"], str):
                return cls()
            seen, fresh, known = (_unpack(value[name]) for name in ("seen", "fresh", "known"))
        except (ValueError, KeyError, TypeError):
            return cls()
        return cls(value["after"], set(seen), set(fresh), dict.fromkeys(known))

    def dumps(self) -> str:
        packed = {"seen": _pack(sorted(self.seen)), "fresh": _pack(sorted(self.fresh)), "known": _pack(self.known)}
        return json.dumps({"format": CURSOR_FORMAT, "after": self.after, **packed}, separators=(",", ":"))

    def learn(self, version: bytes) -> None:
        """Remember that this version of a folder is handled."""
        self.known.pop(version, None)
        self.known[version] = None
        while len(self.known) > _KNOWN_FOLDERS:
            del self.known[next(iter(self.known))]


@dataclass
class TickOutcome:
    """What a tick found.

    Attributes:
        requests: key and folder of each version to ask for.
        young: names of folders whose writer may not be done.
        keyless: names of folders that are no partition, or not yet.
        keys: files listed.
        round_done: whether the tick reached the last folder.
    """

    requests: list[tuple[str, Folder]] = field(default_factory=list)
    young: list[str] = field(default_factory=list)
    keyless: list[str] = field(default_factory=list)
    keys: int = 0
    round_done: bool = False


def scan(
    source: ShardSource,
    store: Store,
    cursor: Cursor,
    *,
    key_of: Callable[[str], str | None],
    handled: Callable[[str, Folder], bool],
    options: ScanOptions,
    first: Iterable[str] = (),
) -> TickOutcome:
    """One tick; brings ``cursor`` up to date.

    A version that was asked for is asked for again until ``handled`` says that it is.

    Args:
        store: of ``source.inputs``.
        key_of: the partition key of a folder's name, or None.
        handled: whether a run was made for this key and `Folder.version`, or none is needed.
        first: names of folders to look at before the round goes on.

    Raises:
        json2vec.errors.StoreError: the store cannot be listed; ``cursor`` may have moved and must not be kept.
    """
    tick = _Tick(cursor, key_of, handled, options, store.now())
    for name in first:
        for folder in list_folders(source, store, prefix=name, marker=options.marker):
            tick.group([folder])
    group: list[Folder] = []
    keys, behind = 0, cursor.after
    for folder in list_folders(source, store, after=cursor.after, marker=options.marker):
        group.append(folder)
        keys += folder.keys
        if not (
            int.from_bytes(sha256(folder.name.encode(errors="surrogateescape")).digest()[:4]) % _GROUP_FOLDERS == 0
            or len(group) >= _MAX_GROUP_FOLDERS
            or keys >= max(options.max_keys // 4, 1)
        ):
            continue
        if not tick.group(group):
            cursor.after = behind
            return tick.outcome
        group, keys, behind = [], 0, folder.name
        if tick.spent:
            cursor.after = behind
            return tick.outcome
    if group and not tick.group(group):
        cursor.after = behind
        return tick.outcome
    tick.outcome.round_done = True
    cursor.after, cursor.seen, cursor.fresh = "", cursor.fresh, set()
    return tick.outcome


class _Tick:
    """The bounds of one tick, and what it found so far."""

    def __init__(
        self,
        cursor: Cursor,
        key_of: Callable[[str], str | None],
        handled: Callable[[str, Folder], bool],
        options: ScanOptions,
        now: float,
    ) -> None:
        self.outcome = TickOutcome()
        self._cursor, self._key_of, self._handled, self._options, self._now = cursor, key_of, handled, options, now
        self._lookups = 0
        self._asked: set[bytes] = set()

    @property
    def spent(self) -> bool:
        return (
            self.outcome.keys >= self._options.max_keys
            or len(self.outcome.requests) >= self._options.max_requests
            or self._lookups >= self._options.max_lookups
        )

    def group(self, folders: list[Folder]) -> bool:
        """Look at neighbouring folders; False if one of them has to wait, since the requests are used up."""
        self.outcome.keys += sum(folder.keys for folder in folders)
        ready: list[tuple[str, Folder, bytes]] = []
        states = sha256()
        for folder in folders:
            if not folder.shards:
                continue
            key = self._key_of(folder.name)
            if key is None:
                state = "no partition"
                self.outcome.keyless.append(folder.name)
            elif folder.is_stable(min_age_s=self._options.min_age_s, marker=self._options.marker, now=self._now):
                state = "ready"
                version = sha256(json.dumps([key, folder.version]).encode()).digest()[:_BYTES]
                ready.append((key, folder, version))
            else:
                state = "young"
                self.outcome.young.append(folder.name)
            states.update(json.dumps([folder.name, folder.version, state]).encode())
        digest = states.digest()[:_BYTES]
        if digest in self._cursor.seen or digest in self._cursor.fresh:
            self._cursor.fresh.add(digest)
            return True
        settled = True
        for key, folder, version in ready:
            if version in self._cursor.known:
                continue
            if version not in self._asked:
                self._lookups += 1
                if self._handled(key, folder):
                    self._cursor.learn(version)
                    continue
                if len(self.outcome.requests) >= self._options.max_requests:
                    return False
                self._asked.add(version)
                self.outcome.requests.append((key, folder))
            settled = False  # until the run is there
        if settled:
            self._cursor.fresh.add(digest)
        return True


def _pack(digests: Iterable[bytes]) -> str:
    return base64.b85encode(b"".join(digests)).decode()


def _unpack(text: str) -> list[bytes]:
    packed = base64.b85decode(text)
    return [packed[start : start + _BYTES] for start in range(0, len(packed), _BYTES)]
