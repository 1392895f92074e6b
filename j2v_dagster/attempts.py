"""Attempt folders: each try at a partition has its own, and one pointer says which try counts.

    OUTPUT/PARTITION/_inputs.json                  the snapshot that input_shards froze last
    OUTPUT/PARTITION/attempts/ATTEMPT/job.json, rank-*.parquet, rank-*.json, logs/, _manifest.json
    OUTPUT/PARTITION/attempts/ATTEMPT/_verified.json   the checks' verdict on this very manifest
    OUTPUT/PARTITION/attempts/ATTEMPT/rank-*.segments.jsonl, _adopted.json    what is sealed, what came from elsewhere
    OUTPUT/PARTITION/_current.json                 {"format": 1, "attempt": ..., "manifest_sha256": ...}
    OUTPUT/PARTITION/_predict.lock, _load.lock     held by the run that predicts or loads (`j2v_dagster.locks`)

The loader moves the pointer after the warehouse has committed, so the pointer never runs ahead of the table.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from j2v_dagster.partitions import partition_folder
from json2vec.errors import IncompletePredictions
from json2vec.stores import Store, file_sha256, open_store

if TYPE_CHECKING:
    import pyarrow as pa

    from json2vec.rank_files.manifest import Manifest

MANIFEST = "_manifest.json"
VERIFIED = "_verified.json"
CURRENT = "_current.json"


@dataclass(frozen=True)
class Attempt:
    """One try at one partition."""

    name: str
    path: Path

    @property
    def job_path(self) -> Path:
        return self.path / "job.json"

    @property
    def log_folder(self) -> Path:
        return self.path / "logs"

    @property
    def committed(self) -> bool:
        return (self.path / MANIFEST).exists()


@dataclass(frozen=True)
class PartitionOutput:
    """The output folder of one partition; ``root`` is absolute."""

    root: Path
    partition: str

    @classmethod
    def of(cls, output: str | os.PathLike[str], partition: str, template: str) -> PartitionOutput:
        return cls(Path(output).expanduser().absolute() / partition_folder(partition, template), partition)

    @property
    def store(self) -> Store:
        return open_store(self.root)

    def create(self, run_id: str) -> Attempt:
        """A new attempt of a Dagster run: its name sorts by time and holds the run's first eight characters."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        name = f"{stamp}-{run_id[:8]}-{secrets.token_hex(2)}"
        path = self.root / "attempts" / name
        path.mkdir(parents=True)
        return Attempt(name, path)

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first."""
        folder = self.root / "attempts"
        return [Attempt(path.name, path) for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def committed(self, run_id: str) -> Attempt:
        """The attempt that a step of ``run_id`` works on: the newest committed one of this run; failing that (a step
        that is run on its own, or again), the newest committed one at all.

        Raises:
            json2vec.errors.IncompletePredictions: there is none.
        """
        committed = [attempt for attempt in self.attempts() if attempt.committed]
        ours = [attempt for attempt in committed if attempt.name.split("-")[1:2] == [run_id[:8]]]
        if not committed:
            raise IncompletePredictions(
                f"partition {self.partition!r} has no complete attempt below {self.root}. "
                "Remedy: materialize prediction_rank_files of this partition"
            )
        return (ours or committed)[-1]

    def resumable(self) -> list[Attempt]:
        """The attempts whose sealed segments a new one may adopt, the newest first: those after the last committed one.

        What was committed is either loaded, and predicting it again is meant, or was refused by a check, and nothing of
        it, nor of what it adopted, may come back.
        """
        found: list[Attempt] = []
        for attempt in reversed(self.attempts()):
            if attempt.committed:
                break
            found.append(attempt)
        return found

    def current(self) -> dict[str, Any] | None:
        """The content of ``_current.json``, or None."""
        try:
            return json.loads(self.store.read(CURRENT))
        except FileNotFoundError:
            return None

    def publish(self, attempt: Attempt, manifest_sha256: str) -> None:
        """Point ``_current.json`` to ``attempt``, atomically."""
        content = {"format": 1, "attempt": attempt.name, "manifest_sha256": manifest_sha256}
        self.store.write(CURRENT, json.dumps(content, sort_keys=True).encode())


@dataclass(frozen=True)
class SealedAttempt:
    """An attempt whose files have just been found to be exactly the manifest's."""

    attempt: Attempt
    manifest: Manifest
    manifest_sha256: str

    @property
    def files(self) -> list[Path]:
        return [self.attempt.path / file.path for file in self.manifest.files]

    def schema(self) -> pa.Schema:
        """The Arrow schema of the rank files."""
        import pyarrow.parquet as pq

        return pq.read_schema(self.files[0])

    def batches(self, columns: list[str] | None = None, *, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The rank files' rows in manifest order, up to ``rows`` at a time; page checksums are compared."""
        import pyarrow.parquet as pq

        for path in self.files:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                yield from file.iter_batches(batch_size=rows, columns=columns)


def seal(attempt: Attempt) -> SealedAttempt:
    """Read the manifest and compare every file with it: present, size in bytes, SHA-256, and no rank file besides.

    Raises:
        json2vec.errors.IncompletePredictions: names the file and the ranks at fault.
    """
    from json2vec.rank_files.manifest import read_manifest

    manifest = read_manifest(attempt.path)
    for file in (*manifest.files, *manifest.rejected):
        path = attempt.path / file.path
        if not path.is_file():
            found = "it is missing"
        elif path.stat().st_size != file.bytes:
            found = f"it has {path.stat().st_size} bytes"
        elif (digest := file_sha256(path)) != file.sha256:
            found = f"its SHA-256 is {digest}"
        else:
            continue
        raise IncompletePredictions(
            f"rank {file.rank}: {path}: {found}; expected {file.bytes} bytes with SHA-256 {file.sha256}, as the "
            "manifest says. Remedy: materialize prediction_rank_files of this partition again",
            ranks=[file.rank],
        )
    expected = {file.path for file in (*manifest.files, *manifest.rejected)}
    for path in sorted(attempt.path.glob("*.parquet")):
        if path.name not in expected:
            raise IncompletePredictions(
                f"{path} is not in the manifest; expected exactly {len(expected)} files. "
                "Remedy: find out who wrote it; materialize prediction_rank_files of this partition again"
            )
    return SealedAttempt(attempt, manifest, file_sha256(attempt.path / MANIFEST))


def write_verdict(attempt: Attempt, *, passed: bool, checks: dict[str, bool]) -> None:
    """Record what the blocking checks said about the manifest as it is now."""
    digest = file_sha256(attempt.path / MANIFEST) if attempt.committed else None
    content = {"format": 1, "manifest_sha256": digest, "passed": passed, "checks": checks}
    open_store(attempt.path).write(VERIFIED, json.dumps(content, sort_keys=True).encode())


def require_verdict(sealed: SealedAttempt) -> None:
    """Raise unless every blocking check passed on this very manifest.

    Raises:
        json2vec.errors.IncompletePredictions: not checked yet, or a check failed; names the checks.
    """
    where = sealed.attempt.path / VERIFIED
    try:
        verdict = json.loads(where.read_bytes())
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
