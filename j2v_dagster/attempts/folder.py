"""Attempt folders: each try at a partition has its own, and one pointer says which try counts.

    OUTPUT/PARTITION/_inputs.json                  the snapshot that input_shards froze last
    OUTPUT/PARTITION/attempts/ATTEMPT/job.json, rank-*.parquet, rank-*.json, logs/, _manifest.json
    OUTPUT/PARTITION/attempts/ATTEMPT/_verified.json   the checks' verdict on this very manifest
    OUTPUT/PARTITION/attempts/ATTEMPT/rank-*.segments.jsonl, _adopted.json    what is sealed, what came from elsewhere
    OUTPUT/PARTITION/_current.json                 {"format": 1, "attempt": ..., "manifest_sha256": ...}
    OUTPUT/PARTITION/_predict.lock, _load.lock     held by the run that predicts or loads (`j2v_dagster.attempts.locks`)

OUTPUT is a local folder or ``s3://bucket/prefix``. The loader moves the pointer after the warehouse has committed, so
the pointer never runs ahead of the table.
"""

from __future__ import annotations

import contextlib
import json
import os
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
JOB = "job.json"
LAUNCHES = "_launches"
"""Below OUTPUT: the jobs and logs of backfills in a single run."""
SCRATCH_VARIABLE = "J2V_SCRATCH"


def default_scratch() -> Path:
    """The local folder for what an attempt in an object store keeps on this machine: ``J2V_SCRATCH``, else a folder of
    this user's below the system's for temporary files."""
    return Path(os.environ.get(SCRATCH_VARIABLE) or os.path.join(tempfile.gettempdir(), f"j2v-scratch-{os.getuid()}"))


@dataclass(frozen=True)
class Attempt:
    """One try at one partition.

    Attributes:
        name: sorts by time.
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
        """A new attempt of a Dagster run: its name sorts by time and holds the run's first eight characters."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        attempt = self.attempt(f"{stamp}-{run_id[:8]}-{secrets.token_hex(2)}")
        attempt.path.mkdir(parents=True)
        return attempt

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first."""
        return [self.attempt(name) for name in self.store.folders("attempts")]

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
        """The content of ``_current.json``, or None."""
        try:
            return json.loads(self.store.read(CURRENT))
        except FileNotFoundError:
            return None

    def current_version(self) -> str | None:
        """The version of ``_current.json``, to be given to `publish`; None where there is none."""
        try:
            return self.store.stat(CURRENT).version
        except FileNotFoundError:
            return None

    def publish(self, attempt: Attempt, manifest_sha256: str, *, expected_version: str | None = "") -> None:
        """Point ``_current.json`` to ``attempt``, atomically.

        Args:
            attempt: the attempt that was loaded.
            manifest_sha256: hex, of its manifest.
            expected_version: the pointer's version before the load, None where there was no pointer; only that
                version is replaced. The empty text replaces any.

        Raises:
            json2vec.errors.StoreError: the pointer has moved since.
        """
        content = {"format": 1, "attempt": attempt.name, "manifest_sha256": manifest_sha256}
        data = json.dumps(content, sort_keys=True).encode()
        try:
            self.store.write(CURRENT, data, if_absent=expected_version is None, if_version=expected_version or None)
        except FileExistsError as exc:
            raise StoreError(
                f"{self.store.uri(CURRENT)} was moved by another run while attempt {attempt.name} was being loaded, so "
                "that the table may hold either's rows. Remedy: materialize the predictions of this partition again"
            ) from exc


def copy_logs(folder: Path, store: Store) -> None:
    """Have the logs of a local folder in ``logs/`` of a store, as far as it takes them."""
    for path in sorted(folder.glob("*.log")):
        with contextlib.suppress(StoreError):
            store.keep(path, f"logs/{path.name}")


def is_of_run(name: str, run_id: str) -> bool:
    """Whether the attempt of that name was made by this Dagster run."""
    return name.split("-")[1:2] == [run_id[:8]]


