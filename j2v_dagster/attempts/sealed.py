"""An attempt whose files are exactly its manifest's, and the verdict that the blocking checks left on it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from j2v_dagster.attempts.folder import MANIFEST, VERIFIED, Attempt, PartitionOutput
from json2vec.errors import IncompletePredictions
from json2vec.storage.store import stored_sha256

if TYPE_CHECKING:
    import pyarrow as pa

    from json2vec.rank_files.manifest import Manifest


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

        from json2vec.rank_files.reader import row_batches

        for rank_file in self.manifest.files:
            with (
                self.attempt.store.open(rank_file.path) as handle,
                pq.ParquetFile(handle, page_checksum_verification=True) as file,
            ):
                yield from row_batches(file, rows=rows, columns=columns)


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
                reason = f"it has {size} bytes"
            elif (digest := stored_sha256(store, file.path)) != file.sha256:
                reason = f"its SHA-256 is {digest}"
            else:
                continue
        except FileNotFoundError:
            reason = "it is missing"
        raise IncompletePredictions(
            f"rank {file.rank}: {store.uri(file.path)}: {reason}; expected {file.bytes} bytes with SHA-256 "
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


def reusable(output: PartitionOutput, *, log: logging.Logger) -> SealedAttempt | None:
    """The partition's current attempt if its files are exactly its manifest's and its checks passed on it.

    Args:
        log: told why there is none.
    """
    try:
        current = output.current()
        if current is None:
            log.info("incremental: nothing was loaded for this partition yet, every row is predicted")
            return None
        sealed = seal(output.attempt(current["attempt"]))
        require_verdict(sealed)
        if sealed.manifest_sha256 != current["manifest_sha256"]:
            raise IncompletePredictions(f"the manifest of the current attempt {sealed.attempt.name} was replaced")
    except (IncompletePredictions, OSError, ValueError, KeyError) as exc:
        log.warning(f"incremental: nothing is reused, every row is predicted: {exc}")
        return None
    return sealed
