"""Attempt folders: each try at a partition has its own, and one pointer says which try counts.

    OUTPUT/PARTITION/_inputs.json                  the snapshot that input_shards froze last
    OUTPUT/PARTITION/attempts/ATTEMPT/job.json, rank-*.parquet, rank-*.json, logs/, _manifest.json
    OUTPUT/PARTITION/attempts/ATTEMPT/_verified.json   the checks' verdict on this very manifest
    OUTPUT/PARTITION/attempts/ATTEMPT/rank-*.segments.jsonl, _adopted.json    what is sealed, what came from elsewhere
    OUTPUT/PARTITION/_current.json                 {"format": 2, "attempt": ..., "manifest_sha256": ..., "sequence": 7}
    OUTPUT/PARTITION/_counter.json                 {"format": 1, "id": ..., "last": 7}: attempts made so far
    OUTPUT/PARTITION/_predict.lock, _load.lock     held by the run that predicts or loads (`j2v_dagster.attempts.locks`)

OUTPUT is a local folder or ``s3://bucket/prefix``. The loader moves the pointer after the warehouse has committed, so
the pointer never runs ahead of the table.

Which attempt is the newer is told by numbers, not by clocks: machines' clocks differ. Each attempt draws its number
from the partition's counter and carries it at the end of its name, ``20260131T120000123456Z-0af1b2c3-9f86-7``. The time
in front is for people. Attempts of earlier versions have no number; they count as older than all that have one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from j2v_dagster.shards.partitions import partition_folder
from json2vec.errors import IncompletePredictions, StoreError
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store

MANIFEST = "_manifest.json"
VERIFIED = "_verified.json"
CURRENT = "_current.json"
COUNTER = "_counter.json"
JOB = "job.json"
LAUNCHES = "_launches"
"""Below OUTPUT: the jobs and logs of backfills in a single run."""
SCRATCH_VARIABLE = "J2V_SCRATCH"
ATTEMPT_NAME = re.compile(r"\d{8}T\d{6,12}Z-[^/]{1,8}-[0-9a-f]{4}(?:-(\d+))?")
_DRAWS = 100


def default_scratch() -> Path:
    """The local folder for what an attempt in an object store keeps on this machine: ``J2V_SCRATCH``, else a folder of
    this user's below the system's for temporary files."""
    return Path(os.environ.get(SCRATCH_VARIABLE) or os.path.join(tempfile.gettempdir(), f"j2v-scratch-{os.getuid()}"))


@dataclass(frozen=True)
class Attempt:
    """One try at one partition.

    Attributes:
        name: begins with the time by its machine's clock and ends with its number.
        path: the store's workspace, a folder on this machine for the job and the logs: the attempt's own where that is
            on this machine, else one in the scratch folder.
        store: the attempt's folder.
    """

    name: str
    path: Path
    store: Store = field(compare=False)

    @property
    def uri(self) -> str:
        return self.store.uri()

    @property
    def number(self) -> int:
        """The later of two attempts has the greater one; 0 for attempts of earlier versions."""
        return attempt_number(self.name)

    @property
    def job_path(self) -> Path:
        return self.path / JOB

    @property
    def log_folder(self) -> Path:
        return self.path / "logs"

    @property
    def committed(self) -> bool:
        return self.has(MANIFEST)

    def has(self, name: str) -> bool:
        """Whether a file of that name lies in the attempt's folder. Raises `StoreError` where nobody can tell."""
        try:
            self.store.stat(name)
        except FileNotFoundError:
            return False
        return True

    def write_job(self, text: str) -> None:
        """Put the job where the launcher reads it and beside the rank files: a store that takes no writes is found out
        before any rank starts."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.job_path.write_text(text)
        self.store.keep(self.job_path, JOB)

    def tidy(self) -> None:
        """Once the ranks have ended: have the logs beside the rank files (a store that refuses costs the copy only),
        and remove what killed ranks left in a scratch folder."""
        copy_logs(self.log_folder, self.store)
        for path in self.path.glob("j2v-rank-*"):
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class PartitionOutput:
    """The output folder of one partition.

    Attributes:
        store: the folder.
        partition: the key.
        scratch: local folder for jobs and logs of attempts in an object store; default: `default_scratch`.
    """

    store: Store
    partition: str
    scratch: Path | None = None

    @classmethod
    def of(
        cls,
        output: str | os.PathLike[str] | Store,
        partition: str,
        template: str,
        storage_options: dict[str, Any] | None = None,
        scratch: str | os.PathLike[str] | None = None,
    ) -> PartitionOutput:
        """The folder of a partition below a pipeline's output.

        Args:
            output: a path or a URI, or the store of it.
            partition: the key.
            template: of a partition's folder below ``output``, such as ``dt={partition}``.
            storage_options: for the object store's client.
            scratch: see above.
        """
        store = open_store(output, storage_options).below(partition_folder(partition, template))
        return cls(store, partition, Path(scratch) if scratch is not None else None)

    @property
    def root(self) -> str:
        """The folder's full address."""
        return self.store.root

    def attempt(self, name: str) -> Attempt:
        """The attempt of that name, whether it exists or not."""
        store = self.store.below(f"attempts/{name}")
        return Attempt(name, store.workspace((self.scratch or default_scratch()) / name), store)

    def create(self, run_id: str) -> Attempt:
        """A new attempt of a Dagster run, newer than all others: its name holds the run's first eight characters."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        attempt = self.attempt(f"{stamp}-{run_id[:8]}-{secrets.token_hex(2)}-{self.draw()}")
        attempt.path.mkdir(parents=True)
        return attempt

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first."""
        return [self.attempt(name) for name in sorted(self.store.folders("attempts"), key=attempt_order)]

    def draw(self) -> int:
        """The next number of the partition's counter, greater than any that was drawn or is known here.

        Raises:
            json2vec.errors.StoreError: others drew whenever this process did, or the counter cannot be read.
        """
        for _ in range(_DRAWS):
            version, counter = self._counter()
            known = [attempt_number(name) for name in self.store.folders("attempts")]
            with contextlib.suppress(ValueError):  # a pointer that cannot be read hides no number: it came from here
                known.append(self.shown_number())
            counter["last"] = 1 + max([counter["last"], *known])
            if self._count(version, counter):
                return counter["last"]
        raise StoreError(
            f"{self.store.uri(COUNTER)} was changed by others {_DRAWS} times while this process drew a number; "
            "expected one run at a time. Remedy: run the partition again"
        )

    def counter_id(self) -> str:
        """What tells this partition's numbers from those of another output; made on first use."""
        while True:
            version, counter = self._counter()
            if version is not None or self._count(None, counter):
                return counter["id"]

    def _counter(self) -> tuple[str | None, dict[str, Any]]:
        """The counter's version, None where there is none yet, and its content."""
        try:
            # The version first: what is written over it was not read before it.
            version, text = self.store.stat(COUNTER).version, self.store.read(COUNTER)
        except FileNotFoundError:
            return None, {"format": 1, "id": secrets.token_hex(8), "last": 0}
        try:
            counter = json.loads(text)
            return version, {"format": 1, "id": str(counter["id"]), "last": int(counter["last"])}
        except (ValueError, KeyError, TypeError) as exc:
            raise StoreError(
                f"{self.store.uri(COUNTER)} is no counter: {exc!r}; expected format, id and last. Remedy: remove it; "
                "the next one goes on behind the attempts that are there"
            ) from exc

    def _count(self, version: str | None, counter: dict[str, Any]) -> bool:
        data = json.dumps(counter, sort_keys=True).encode()
        try:
            self.store.write(COUNTER, data, if_absent=version is None, if_version=version)
        except FileExistsError:
            return False
        return True

    def committed(self, run_id: str) -> Attempt:
        """The attempt that a step of ``run_id`` works on: the newest committed one of this run; failing that (a step
        that is run on its own, or again), the newest committed one at all.

        Raises:
            json2vec.errors.IncompletePredictions: there is none.
        """
        attempts = self.attempts()[::-1]
        ours = [attempt for attempt in attempts if is_of_run(attempt.name, run_id)]
        for attempt in (*ours, *attempts):
            if attempt.committed:
                return attempt
        raise IncompletePredictions(
            f"partition {self.partition!r} has no complete attempt below {self.root}. "
            "Remedy: materialize prediction_rank_files of this partition"
        )

    def named(self, name: str) -> Attempt:
        """The complete attempt of that name, which a person chose.

        Raises:
            json2vec.errors.IncompletePredictions: there is none.
        """
        if not ATTEMPT_NAME.fullmatch(name) or not (attempt := self.attempt(name)).committed:
            complete = [attempt.name for attempt in self.attempts() if attempt.committed]
            raise IncompletePredictions(
                f"partition {self.partition!r} has no complete attempt {name!r} below {self.root}; expected one of "
                f"{complete[-5:]}. Remedy: correct the name"
            )
        return attempt

    def resumable(self) -> list[Attempt]:
        """The attempts whose sealed segments a new one may adopt, the newest first: those after the last checked one.

        What was checked is either loaded, and predicting it again is meant, or was refused, and nothing of it, nor of
        what it adopted, may come back. What was committed and not checked is left of a run that was ended in between.
        """
        resumable: list[Attempt] = []
        for attempt in reversed(self.attempts()):
            if attempt.committed and attempt.has(VERIFIED):
                break
            resumable.append(attempt)
        return resumable

    def current(self) -> dict[str, Any] | None:
        """The content of ``_current.json``, or None.

        Raises:
            ValueError: it names no attempt.
        """
        try:
            text = self.store.read(CURRENT)
        except FileNotFoundError:
            return None
        current = json.loads(text)
        if not isinstance(current, dict) or not isinstance(current.get("attempt"), str):
            raise ValueError(f"{self.store.uri(CURRENT)} names no attempt; expected a mapping with attempt")
        return current

    def shown_number(self) -> int:
        """The number under which the current attempt was loaded; 0 where there is none, or one of an earlier version.
        """
        current = self.current()
        return 0 if current is None else int(current.get("sequence", 0))

    def current_version(self) -> str | None:
        """The version of ``_current.json``, to be given to `publish`; None where there is none."""
        try:
            return self.store.stat(CURRENT).version
        except FileNotFoundError:
            return None

    def publish(
        self,
        attempt: Attempt,
        manifest_sha256: str,
        *,
        sequence: int | None = None,
        expected_version: str | None = "",
    ) -> None:
        """Point ``_current.json`` to ``attempt``, atomically.

        Args:
            attempt: the attempt that was loaded.
            manifest_sha256: hex, of its manifest.
            sequence: the number that the table notes of the load; default: the attempt's own.
            expected_version: the pointer's version before the load, None where there was no pointer; only that
                version is replaced. The empty text replaces any.

        Raises:
            json2vec.errors.StoreError: the pointer has moved since.
        """
        number = attempt.number if sequence is None else sequence
        content = {"format": 2, "attempt": attempt.name, "manifest_sha256": manifest_sha256, "sequence": number}
        data = json.dumps(content, sort_keys=True).encode()
        try:
            self.store.write(CURRENT, data, if_absent=expected_version is None, if_version=expected_version or None)
        except FileExistsError as exc:
            raise StoreError(
                f"{self.store.uri(CURRENT)} was moved by another run while attempt {attempt.name} was being loaded. "
                "The table shows the newer of the two. Remedy: materialize the predictions of this partition again"
            ) from exc


def copy_logs(folder: Path, store: Store) -> None:
    """Have the logs of a local folder in ``logs/`` of a store, as far as it takes them."""
    for path in sorted(folder.glob("*.log")):
        with contextlib.suppress(StoreError):
            store.keep(path, f"logs/{path.name}")


def attempt_number(name: str) -> int:
    """The number in an attempt's name; 0 where it has none."""
    matched = ATTEMPT_NAME.fullmatch(name)
    return int(matched.group(1) or 0) if matched else 0


def attempt_order(name: str) -> tuple[int, str]:
    """What attempts of a partition are sorted by: their numbers, and their names where those have none."""
    return attempt_number(name), name


def is_of_run(name: str, run_id: str) -> bool:
    """Whether the attempt of that name was made by this Dagster run."""
    return name.split("-")[1:2] == [run_id[:8]]


