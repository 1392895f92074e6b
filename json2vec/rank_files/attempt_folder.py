"""Before the first row: the attempt id that all ranks share, and a folder without leftovers of earlier attempts."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from json2vec.errors import Json2VecError
from json2vec.rank_files.manifest import MANIFEST_NAME, NO_RANK, journal_rank, parse_name
from json2vec.storage.store import Store

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

_ELASTIC = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
_used: Counter[str] = Counter()


def new_attempt() -> str:
    """A fresh id that sorts by time, such as ``20260131T120000Z-9f86d081``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def shared_attempt(store: Store, rank: int, world_size: int, trainer: Trainer | None = None) -> str:
    """One id for all ranks of this try, different from that of every other try.

    With a process group, rank 0 draws it and the others are told. Ranks that torchrun started without a group derive it
    from what torchrun tells all of them; how often this process has begun on ``store`` tells a second `trainer.predict`
    of one script from the first.

    Args:
        store: the prediction folder.
        rank: global rank of this process.
        world_size: number of ranks of this try.
        trainer: Lightning's trainer, whose process group is used if it has one; None where there is no trainer.

    Raises:
        Json2VecError: there are several ranks, without a process group and without torchrun.
    """
    if world_size == 1:
        return new_attempt()
    if trainer is not None and trainer.world_size > 1:
        return trainer.strategy.broadcast(new_attempt() if rank == 0 else "", src=0)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        raise Json2VecError(
            f"rank {rank} of {world_size} shares no process group and no torchrun with the others, so that they cannot "
            "agree on an attempt id. Remedy: pass the same Writer(attempt=...) to all ranks"
        )
    parts = [os.environ.get(name, "") for name in _ELASTIC]
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE"):
        parts.append(str(os.getppid()))  # one node: the ranks are children of one torchrun
    parts.append(store.root)
    key = "\n".join(parts)
    _used[key] += 1
    return "torchrun-" + hashlib.sha256(f"{key}\n{_used[key]}".encode()).hexdigest()[:16]


def reset_folder(store: Store, *, rank: int, world_size: int) -> None:
    """Remove what earlier attempts left, the manifest first: from then on no reader takes the folder for complete.

    Every rank calls this before its first row. It removes the rank's own leftovers, and rank 0 also those of ranks that
    are no more. No rank touches the files of another that may be running: it could remove a marker just written. So a
    manifest or a marker of this attempt never goes (a manifest needs this rank's marker, which is not there yet). Files
    that no writer of ours makes stay.

    Args:
        store: the prediction folder, which is made where it is missing.
        rank: global rank of this process.
        world_size: number of ranks.

    Raises:
        StoreError: the folder is a file.
    """
    store.prepare()
    store.delete(MANIFEST_NAME)
    names = [entry.path for entry in store.list() if "/" not in entry.path]
    doomed = []
    for file in sorted(names, key=lambda file: not file.endswith(".json")):  # markers before the files they name
        name = parse_name(file)
        owner = name.rank if name is not None else journal_rank(file)
        if owner is not None and (owner == rank or (rank == 0 and (owner >= world_size or owner == NO_RANK))):
            doomed.append(file)
    store.delete(*doomed)
