"""Attempt folders: each try at a partition has its own, and one pointer says which try counts.

    OUTPUT/PARTITION/_inputs.json                  the snapshot that input_shards froze last
    OUTPUT/PARTITION/attempts/ATTEMPT/job.json, rank-*.parquet, rank-*.json, logs/, _manifest.json
    OUTPUT/PARTITION/attempts/ATTEMPT/_verified.json   the checks' verdict on this very manifest
    OUTPUT/PARTITION/attempts/ATTEMPT/rank-*.segments.jsonl, _adopted.json    what is sealed, what came from elsewhere
    OUTPUT/PARTITION/_current.json                 {"format": 1, "attempt": ..., "manifest_sha256": ...}
    OUTPUT/PARTITION/_predict.lock, _load.lock     held by the run that predicts or loads (`j2v_dagster.locks`)

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
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from j2v_dagster.partitions import partition_folder
from json2vec.errors import IncompletePredictions, StoreError
from json2vec.stores import LocalStore, Store, open_store, stored_sha256

if TYPE_CHECKING:
    import pyarrow as pa

    from json2vec.rank_files.manifest import Manifest

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
        path: a folder on this machine for the job and the logs: the attempt's own, or, where that lies in an object
            store, one in the scratch folder.
        remote: the attempt's folder in an object store; None where it is local.
    """

    name: str
    path: Path
    remote: Store | None = None

    @property
    def store(self) -> Store:
        """The attempt's folder."""
        return self.remote or LocalStore(self.path)

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
        """Put the job where the launcher reads it and, in an object store, beside the rank files: a store that takes
        no writes is found out before any rank starts."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.job_path.write_text(text)
        if self.remote is not None:
            self.remote.write(JOB, text.encode())

    def tidy(self) -> None:
        """Once the ranks have ended, where the rank files lie in an object store: copy the logs there (a store that
        refuses costs the copy only), and remove what killed ranks left in the scratch folder."""
        if self.remote is None:
            return
        copy_logs(self.log_folder, self.remote)
        for path in self.path.glob("j2v-rank-*"):
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class PartitionOutput:
    """The output folder of one partition.

    Attributes:
        root: absolute, or an ``s3://`` URI.
        partition: the key.
        storage_options: for the object store's client.
        scratch: local folder for jobs and logs of attempts in an object store; default: `default_scratch`.
    """

    root: Path | str
    partition: str
    storage_options: dict[str, Any] | None = None
    scratch: Path | None = None

    @classmethod
    def of(
        cls,
        output: str | os.PathLike[str],
        partition: str,
        template: str,
        storage_options: dict[str, Any] | None = None,
        scratch: str | os.PathLike[str] | None = None,
    ) -> PartitionOutput:
        folder, place = partition_folder(partition, template), Path(scratch) if scratch is not None else None
        if "://" in os.fspath(output):
            return cls(f"{os.fspath(output).rstrip('/')}/{folder}", partition, storage_options, place)
        return cls(Path(output).expanduser().absolute() / folder, partition, None, place)

    @property
    def store(self) -> Store:
        return open_store(self.root, self.storage_options)

    def attempt(self, name: str) -> Attempt:
        """The attempt of that name, whether it exists or not."""
        if isinstance(self.root, Path):
            return Attempt(name, self.root / "attempts" / name)
        remote = open_store(f"{self.root}/attempts/{name}", self.storage_options)
        return Attempt(name, (self.scratch or default_scratch()) / name, remote)

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
        found: list[Attempt] = []
        for attempt in reversed(self.attempts()):
            if attempt.committed and attempt.has(VERIFIED):
                break
            found.append(attempt)
        return found

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

    def publish(self, attempt: Attempt, manifest_sha256: str, *, over: str | None = "") -> None:
        """Point ``_current.json`` to ``attempt``, atomically.

        Args:
            over: the pointer's version before the load (None: there was no pointer): written over this one only. The
                empty text writes over any.

        Raises:
            json2vec.errors.StoreError: the pointer has moved since.
        """
        content = {"format": 1, "attempt": attempt.name, "manifest_sha256": manifest_sha256}
        data = json.dumps(content, sort_keys=True).encode()
        try:
            self.store.write(CURRENT, data, if_absent=over is None, if_version=over or None)
        except FileExistsError as exc:
            raise StoreError(
                f"{self.store.uri(CURRENT)} was moved by another run while attempt {attempt.name} was being loaded, so "
                "that the table may hold either's rows. Remedy: materialize the predictions of this partition again"
            ) from exc


def copy_logs(folder: Path, store: Store) -> None:
    """Copy the logs in a local folder to ``logs/`` of a store, as far as it takes them."""
    for path in sorted(folder.glob("*.log")):
        with contextlib.suppress(StoreError):
            store.write(f"logs/{path.name}", path.read_bytes())


def is_of_run(name: str, run_id: str) -> bool:
    """Whether the attempt of that name was made by this Dagster run."""
    return name.split("-")[1:2] == [run_id[:8]]


@dataclass(frozen=True)
class SealedAttempt:
    """An attempt whose files have just been found to be exactly the manifest's."""

    attempt: Attempt
    manifest: Manifest
    manifest_sha256: str

    def schema(self) -> pa.Schema:
        """The Arrow schema of the rank files."""
        import pyarrow.parquet as pq

        with self.attempt.store.open(self.manifest.files[0].path) as file:
            return pq.read_schema(file)

    def batches(self, columns: list[str] | None = None, *, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The rank files' rows in manifest order, up to ``rows`` at a time; page checksums are compared."""
        import pyarrow.parquet as pq

        for one in self.manifest.files:
            with (
                self.attempt.store.open(one.path) as handle,
                pq.ParquetFile(handle, page_checksum_verification=True) as file,
            ):
                yield from file.iter_batches(batch_size=rows, columns=columns)


def seal(attempt: Attempt) -> SealedAttempt:
    """Read the manifest and compare every file with it: present, size in bytes, SHA-256, and no rank file besides.

    Raises:
        json2vec.errors.IncompletePredictions: names the file and the ranks at fault.
    """
    from json2vec.rank_files.manifest import read_manifest

    store = attempt.store
    manifest = read_manifest(store)
    for file in (*manifest.files, *manifest.rejected):
        try:
            size = store.stat(file.path).size
            if size != file.bytes:
                found = f"it has {size} bytes"
            elif (digest := stored_sha256(store, file.path)) != file.sha256:
                found = f"its SHA-256 is {digest}"
            else:
                continue
        except FileNotFoundError:
            found = "it is missing"
        raise IncompletePredictions(
            f"rank {file.rank}: {store.uri(file.path)}: {found}; expected {file.bytes} bytes with SHA-256 "
            f"{file.sha256}, as the manifest says. Remedy: materialize prediction_rank_files of this partition again",
            ranks=[file.rank],
        )
    expected = {file.path for file in (*manifest.files, *manifest.rejected)}
    for entry in store.list():
        if "/" not in entry.path and entry.path.endswith(".parquet") and entry.path not in expected:
            raise IncompletePredictions(
                f"{store.uri(entry.path)} is not in the manifest; expected exactly {len(expected)} files. "
                "Remedy: find out who wrote it; materialize prediction_rank_files of this partition again"
            )
    return SealedAttempt(attempt, manifest, stored_sha256(store, MANIFEST))


def write_verdict(attempt: Attempt, *, passed: bool, checks: dict[str, bool]) -> None:
    """Record what the blocking checks said about the manifest as it is now."""
    digest = stored_sha256(attempt.store, MANIFEST) if attempt.committed else None
    content = {"format": 1, "manifest_sha256": digest, "passed": passed, "checks": checks}
    attempt.store.write(VERIFIED, json.dumps(content, sort_keys=True).encode())


def require_verdict(sealed: SealedAttempt) -> None:
    """Raise unless every blocking check passed on this very manifest.

    Raises:
        json2vec.errors.IncompletePredictions: not checked yet, or a check failed; names the checks.
    """
    store = sealed.attempt.store
    where = store.uri(VERIFIED)
    try:
        verdict = json.loads(store.read(VERIFIED))
    except FileNotFoundError:
        raise IncompletePredictions(
            f"attempt {sealed.attempt.name} has not been checked: {where} is missing. Nothing is loaded without its "
            "blocking checks. Remedy: run the checks of prediction_rank_files of this partition"
        ) from None
    failed = sorted(name for name, passed in verdict["checks"].items() if not passed)
    if not verdict["passed"] or verdict["manifest_sha256"] != sealed.manifest_sha256:
        reason = f"failed {', '.join(failed)}" if failed else "was checked with another manifest"
        raise IncompletePredictions(
            f"attempt {sealed.attempt.name} {reason} ({where}); the table keeps its rows. "
            "Remedy: materialize prediction_rank_files of this partition again"
        )
