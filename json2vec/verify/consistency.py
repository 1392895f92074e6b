"""Does a manifest agree with itself, with the plan it names, and with the markers of its ranks?

What no rank file can tell (how many ranks there were, which rows each file accounts for, when the last one ended)
stands twice, in the manifest and in the markers, and much of it follows from the plan. A folder in which two places
disagree was changed after its commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from json2vec.errors import IncompletePredictions, Json2VecError
from json2vec.rank_files.manifest import (
    FOOTER_KEY,
    MANIFEST_NAME,
    Footer,
    Manifest,
    Marker,
    RankedFile,
    SealedFile,
    marker_name,
    merge_spans,
    parse_document,
)
from json2vec.rank_files.settings import SETTINGS
from json2vec.reading.plan import Plan
from json2vec.reading.row_hash import ROW_HASH
from json2vec.reading.snapshot import Snapshot
from json2vec.storage.store import Store


def manifest_problems(store: Store, manifest: Manifest, snapshot: Snapshot) -> Iterator[str]:
    """Sentences, one for each contradiction within the manifest, and between it and the markers."""
    files, rejected = manifest.files, manifest.rejected
    stated = {
        "row_hash": (manifest.row_hash, ROW_HASH),
        "rows": (manifest.rows, sum(file.rows for file in files)),
        "rejected_rows": (manifest.rejected_rows, sum(file.rows for file in rejected)),
        "input_rows": (manifest.input_rows, snapshot.rows),
        "plan.digest": (manifest.plan.digest, _plan_digest(manifest, snapshot)),
    }
    for name, (actual, expected) in stated.items():
        if actual != expected:
            yield f"{MANIFEST_NAME} says {name} {actual!r}, which contradicts the rest of it: expected {expected!r}"
    try:
        spans = merge_spans(span for file in files for span in file.spans)
        if spans != merge_spans([(0, snapshot.rows)]):
            yield f"the files account for plan rows {list(spans)[:3]}, expected [0, {snapshot.rows})"
    except IncompletePredictions as exc:
        yield f"{MANIFEST_NAME}: {exc}"
    yield from _settings_problems(manifest.settings)
    yield from _marker_problems(store, manifest, snapshot)


def _settings_problems(settings: Mapping[str, object]) -> Iterator[str]:
    if set(settings) != set(SETTINGS):
        yield f"{MANIFEST_NAME} has the settings {sorted(settings)}, expected {sorted(SETTINGS)}"
    for name in ("preprocessor", "postprocessor"):
        if not isinstance(settings.get(name), str | None):
            yield f"{MANIFEST_NAME} says {name} {settings[name]!r}, expected the name of a function or null"
    if not isinstance(settings.get("reconstruct"), list):
        yield f"{MANIFEST_NAME} says reconstruct {settings.get('reconstruct')!r}, expected a list of addresses"


def _plan_digest(manifest: Manifest, snapshot: Snapshot) -> str | None:
    try:
        return Plan(snapshot, manifest.world_size, tuple(manifest.plan.intervals)).digest
    except Json2VecError:
        return None


def _marker_problems(store: Store, manifest: Manifest, snapshot: Snapshot) -> Iterator[str]:
    finished = []
    if manifest.world_size > len(manifest.files):  # each has one, be it without rows: there is no need to look for all
        yield f"{MANIFEST_NAME} says {manifest.world_size} ranks, and lists {len(manifest.files)} files"
    for rank in range(min(manifest.world_size, len(manifest.files) + 1)):
        name = marker_name(rank)
        try:
            marker = parse_document(Marker, store.read(name), name, ranks=[rank])
        except FileNotFoundError:
            yield f"rank {rank}: its marker {name} is missing"
            continue
        except (IncompletePredictions, OSError) as exc:
            yield f"rank {rank}: {exc}"
            continue
        finished.append(marker.finished)
        compared: dict[str, tuple[object, object]] = {
            "attempt": (marker.attempt, manifest.attempt),
            "rank": (marker.rank, rank),
            "world_size": (marker.world_size, manifest.world_size),
            "plan": (marker.plan, manifest.plan.digest),
            "snapshot": (marker.snapshot, snapshot.digest),
            "model": (marker.model, manifest.model),
            "schema": (marker.schema_digest, manifest.schema_digest),
            "files": (_listed(marker.files), _listed(_own(manifest, manifest.files, rank))),
            "rejected": (_listed(marker.rejected), _listed(_own(manifest, manifest.rejected, rank))),
            "rows": (marker.rows, sum(file.rows for file in marker.files)),
            "rejected_rows": (marker.rejected_rows, sum(file.rows for file in marker.rejected)),
            "input_rows": (marker.input_rows, sum(stop - start for file in marker.files for start, stop in file.spans)),
        }
        for key, (actual, expected) in compared.items():
            if actual != expected:
                yield f"rank {rank}: {name} says {key} {_short(actual)}, expected {_short(expected)}"
    if len(finished) == manifest.world_size and manifest.created != max(finished):
        yield f"{MANIFEST_NAME} says created {manifest.created}, but the last rank finished {max(finished)}"


def footer_problem(metadata: dict[bytes, bytes] | None, snapshot: Snapshot, manifest: Manifest) -> str | None:
    """What a file's footer says that contradicts the snapshot, besides what `commit.file_problem` compares."""
    try:
        footer = parse_document(Footer, (metadata or {})[FOOTER_KEY], "footer")
    except (KeyError, IncompletePredictions) as exc:
        return f"carries no footer that can be used ({exc})"
    if footer.snapshot != snapshot.digest:
        return f"footer says snapshot {footer.snapshot[:12]}..., the manifest's has digest {snapshot.digest[:12]}..."
    if footer.row_hash != manifest.row_hash:
        return f"footer says row_hash {footer.row_hash!r}, expected {manifest.row_hash!r}"
    return None


def kept_problem(manifest: Manifest, snapshot: Snapshot, schema: pa.Schema) -> str | None:
    """Whether the ``inputs`` column is the one that ``settings.inputs`` describes."""
    kept = manifest.settings.get("inputs", True)
    names = snapshot.schema.names
    expected = names if kept is True else [name for name in names if name in (kept or ())]
    actual = [field.name for field in schema.field("inputs").type] if "inputs" in schema.names else []
    return None if actual == expected else f"inputs has the columns {actual}, settings.inputs={kept!r} means {expected}"


def _own(manifest: Manifest, files: Iterable[RankedFile], rank: int) -> Iterator[RankedFile]:
    """What a rank of this attempt wrote; adopted files are in no marker."""
    return (file for file in files if file.rank == rank and file.attempt == manifest.attempt)


def _listed(files: Iterable[SealedFile]) -> list[dict[str, Any]]:
    """Files of a marker or manifest in one order, as plain values without the rank."""
    values = ({name: value for name, value in dict(file).items() if name != "rank"} for file in files)
    return sorted(values, key=lambda value: value["path"])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def settings_problems(manifest: Manifest, expected: Mapping[str, Any]) -> list[str]:
    """Where a manifest says that it was predicted otherwise than it ought to have been.

    Settings that change no stored value (batch size, threads) may differ, and those that the manifest does not have.

    Args:
        manifest: the folder's manifest.
        expected: settings by the names of `json2vec.rank_files.settings.SETTINGS`.
    """

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    names = ("device", "precision", "preprocessor", "postprocessor", "inputs", "reconstruct")
    return [
        f"the manifest's {name} is {manifest.settings[name]!r}, expected {plain(expected[name])!r}"
        for name in names
        if name in expected and name in manifest.settings and manifest.settings[name] != plain(expected[name])
    ]
