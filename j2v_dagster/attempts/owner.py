"""Who owns a partition's output: two pipelines that write below one output must not take each other's attempts.

    OUTPUT/_owners.json                             {"format": 1, "folders": {"dt={partition}": OWNER}}
    OUTPUT/PARTITION/_owner.json                    {"format": 1, "owner": OWNER}
    OUTPUT/PARTITION/attempts/ATTEMPT/_owner.json   the same, of the pipeline that made the attempt

OWNER is ``{"pipeline": ..., "asset": ..., "inputs": ..., "table": ...}``. The folder itself says whose it is, so that
it does not matter how an output is spelled: through a link, with ``..``, by another name of its bucket.

An example: ``spam`` predicts ``2024-01-01`` into ``out`` and claims it; ``shop``, whose output is ``./out/``, is
refused before it writes anything. Folders that an earlier version has made say nothing: they are claimed by the first
pipeline that commits there, or that loads what lies there. `adopt` hands a folder over, and is the only way.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from j2v_dagster.attempts.folder import Attempt, PartitionOutput
from j2v_dagster.attempts.locks import PartitionBusy, partition_lock
from json2vec.errors import Json2VecError, StoreError
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store

OWNERS, OWNER = "_owners.json", "_owner.json"
_TRIES = 20


class NotTheOwner(Json2VecError):
    """The output, or an attempt in it, belongs to another pipeline; the message names both."""


@dataclass(frozen=True)
class Owner:
    """What tells a pipeline from others, whatever model it has today.

    Attributes:
        pipeline: its name.
        asset: the key of its rank files, as text.
        inputs: address of its shards; local ones relative to the output, so that a project may move as a whole.
        table: address of its table, likewise.

    None, which only `adopt` writes, is like any value and is filled in by the pipeline that claims.
    """

    pipeline: str
    asset: str | None = None
    inputs: str | None = None
    table: str | None = None

    def is_like(self, other: Owner) -> bool:
        """Whether both can be one pipeline."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return all(ours == theirs or None in (ours, theirs) for ours, theirs in pairs)

    def __str__(self) -> str:
        known = {name: value for name, value in asdict(self).items() if name != "pipeline" and value is not None}
        more = ", ".join(f"{name} {value}" for name, value in known.items())
        return f"pipeline {self.pipeline!r}" + (f" ({more})" if more else "")


@dataclass(frozen=True)
class Claims:
    """A pipeline's claims to its output.

    Attributes:
        store: the output folder.
        folder: template of a partition's folder below it.
        owner: the pipeline.
    """

    store: Store
    folder: str
    owner: Owner

    def check(self, output: PartitionOutput) -> None:
        """Do nothing where the partition's folder is ours, or nobody's yet.

        Raises:
            NotTheOwner: it is another's.
        """
        for where, owner in ((self.store.uri(OWNERS), _read_root(self.store).get(self.folder)),
                             (output.store.uri(OWNER), _read(output.store))):  # fmt: skip
            if owner is not None and not owner.is_like(self.owner):
                raise NotTheOwner(self._refusal(output.root, where, owner))

    def check_attempt(self, output: PartitionOutput, attempt: Attempt) -> None:
        """`check`, and the same of one attempt.

        Raises:
            NotTheOwner: the partition's folder, or the attempt, is another's.
        """
        self.check(output)
        owner = _read(attempt.store)
        if owner is not None and not owner.is_like(self.owner):
            raise NotTheOwner(self._refusal(attempt.uri, attempt.store.uri(OWNER), owner))

    def take_new(self, output: PartitionOutput, log: logging.Logger) -> None:
        """`take`, unless attempts of an earlier version lie there: those are claimed with the first commit."""
        self.check(output)
        if all(_read(attempt.store) is not None for attempt in output.attempts()):
            self.take(output, log)

    def take(self, output: PartitionOutput, log: logging.Logger) -> None:
        """Claim the partition's folder, where it is not ours yet.

        Args:
            output: the partition's folder, whose lock this run holds.
            log: told of a folder with attempts that belonged to nobody.

        Raises:
            NotTheOwner: it is another's.
        """
        self.check(output)
        self._take_root()
        if _read(output.store) == self.owner:
            return
        if _read(output.store) is None and output.attempts():
            log.info(f"{output.root} said of no pipeline that it owns it; from now on it belongs to {self.owner}")
        _write(output.store, self.owner)

    def stamp(self, attempt: Attempt) -> None:
        """Note in a new attempt whose it is."""
        _write(attempt.store, self.owner)

    def _take_root(self) -> None:
        for _ in range(_TRIES):
            version, owners = _version(self.store, OWNERS), _read_root(self.store)
            found = owners.get(self.folder)
            if found == self.owner:
                return
            if found is not None and not found.is_like(self.owner):
                raise NotTheOwner(self._refusal(self.store.uri(), self.store.uri(OWNERS), found))
            if _write_root(self.store, {**owners, self.folder: self.owner}, version):
                return
        raise StoreError(f"{self.store.uri(OWNERS)} was changed by others {_TRIES} times. Remedy: run again")

    def _refusal(self, what: str, where: str, found: Owner) -> str:
        return (
            f"{what} belongs to {found}, as {where} says; expected {self.owner}. Nothing was changed. Remedy: give "
            f"pipeline {self.owner.pipeline!r} an output of its own; or, where it is to go on with this one, hand it "
            f"over: j2v-dagster adopt {self.store.root} {self.owner.pipeline}"
        )


@dataclass(frozen=True)
class Adopted:
    """What `adopt` did.

    Attributes:
        partitions: how many partitions' folders belong to the pipeline now.
        before: whose they were, by the owner in words.
        skipped: partitions that were left alone, with the reason.
    """

    partitions: int
    before: dict[str, int]
    skipped: tuple[str, ...]


def adopt(
    root: str | os.PathLike[str] | Store,
    pipeline: str,
    *,
    of: str | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Adopted:
    """Hand the partitions below an output, with their attempts, to a pipeline, which fills in the rest when it runs.

    Args:
        root: the output folder; local or ``s3://``.
        pipeline: the name of the pipeline that goes on with it.
        of: hand over only what belongs to the pipeline of this name; default: everything.
        storage_options: for the object store's client.

    Raises:
        StoreError: ``root`` is no folder.
    """
    store, new = open_store(root, storage_options), Owner(pipeline)
    if not store.exists():
        raise StoreError(f"{root} is no folder. Remedy: pass the pipeline's output folder")
    count, before, skipped = 0, dict[str, int](), list[str]()
    for folder in partition_folders(store):
        output = PartitionOutput(store.below(folder), folder)
        us = f"adopt (process {os.getpid()})"
        try:
            with partition_lock(output.store, us, wait_s=0.0), partition_lock(output.store, us, "load", wait_s=0.0):
                owner = _read(output.store)
                if of is not None and (owner is None or owner.pipeline != of):
                    continue
                for attempt in output.attempts():
                    if _read(attempt.store) is not None:
                        _write(attempt.store, new)
                _write(output.store, new)
        except (PartitionBusy, OSError, ValueError) as exc:
            skipped.append(f"{output.root}: {exc}")
            continue
        count += 1
        words = "nobody" if owner is None else str(owner)
        before[words] = before.get(words, 0) + 1
    _adopt_root(store, new, of)
    return Adopted(count, before, tuple(skipped))


def partition_folders(store: Store, folder: str = "") -> Iterator[str]:
    """Folders with attempts in them, at any depth; links are not followed."""
    names = store.folders(folder, links=False)
    if "attempts" in names:
        yield folder
        return
    for name in names:
        yield from partition_folders(store, f"{folder}/{name}" if folder else name)


def _adopt_root(store: Store, new: Owner, of: str | None) -> None:
    for _ in range(_TRIES):
        version, owners = _version(store, OWNERS), _read_root(store)
        changed = {folder: new if of in (None, owner.pipeline) else owner for folder, owner in owners.items()}
        if version is None or _write_root(store, changed, version):
            return
    raise StoreError(f"{store.uri(OWNERS)} was changed by others {_TRIES} times. Remedy: adopt again")


def _read(store: Store) -> Owner | None:
    try:
        return _parse(json.loads(store.read(OWNER))["owner"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as exc:
        raise _unreadable(store, OWNER, exc) from exc


def _read_root(store: Store) -> dict[str, Owner]:
    try:
        return {folder: _parse(owner) for folder, owner in json.loads(store.read(OWNERS))["folders"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _unreadable(store, OWNERS, exc) from exc


def _parse(value: dict[str, Any]) -> Owner:
    return Owner(**{field.name: value[field.name] for field in fields(Owner)})


def _unreadable(store: Store, name: str, error: Exception) -> StoreError:
    return StoreError(
        f"{store.uri(name)} does not say whose the folder is: {error!r}; nothing is done to a folder of which nobody "
        f"knows that. Remedy: remove the file, then say whose it is: j2v-dagster adopt {store.root} PIPELINE"
    )


def _write(store: Store, owner: Owner) -> None:
    store.write(OWNER, json.dumps({"format": 1, "owner": asdict(owner)}, sort_keys=True).encode())


def _write_root(store: Store, owners: dict[str, Owner], version: str | None) -> bool:
    content = {"format": 1, "folders": {folder: asdict(owner) for folder, owner in owners.items()}}
    data = json.dumps(content, sort_keys=True).encode()
    try:
        store.write(OWNERS, data, if_absent=version is None, if_version=version)
    except FileExistsError:
        return False
    return True


def _version(store: Store, name: str) -> str | None:
    try:
        return store.stat(name).version
    except FileNotFoundError:
        return None
