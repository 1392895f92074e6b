"""Commit: check every rank's marker against the plan, then write ``_manifest.json``, atomically and once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.errors import IncompletePredictions, StoreError
from json2vec.rank_files.manifest import (
    FOOTER_KEY,
    MANIFEST_NAME,
    Footer,
    Manifest,
    Marker,
    PlanRecord,
    RankedFile,
    SealedFile,
    Segment,
    Span,
    marker_name,
    merge_spans,
    parse_document,
)
from json2vec.rank_files.rejected import check_rejected, summarize_rejected
from json2vec.rank_files.settings import SETTINGS, library_versions
from json2vec.reading.row_hash import ROW_HASH
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store

if TYPE_CHECKING:
    from json2vec.reading.plan import Plan

_POLL_S = 0.1


def commit_predictions(
    path: str | os.PathLike[str] | Store,
    plan: Plan,
    *,
    attempt: str | None = None,
    wait_s: float = 0.0,
    settings: Mapping[str, object] | None = None,
    adopted: Sequence[Segment] = (),
    max_rejected: float | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Manifest:
    """Make a folder of rank files complete, if it is.

    Committing the same files again gives the same bytes and succeeds.

    Args:
        path: the prediction folder, local or in an object store.
        plan: what the ranks were to predict.
        attempt: the attempt whose markers count; None takes the one that all markers share.
        wait_s: seconds to wait for markers that are not there yet.
        settings: how the ranks predicted, by the names of `SETTINGS`; other names are refused.
        adopted: segments of earlier attempts that lie in the folder; they and the plan's intervals must be exactly the
            snapshot's rows.
        max_rejected: share (float) or number (int) of the snapshot's rows that may be quarantined; None sets no limit.
        storage_options: options for the object store's client; unused for local folders.

    Returns:
        the manifest as it was written.

    Raises:
        IncompletePredictions: a marker or a file is missing or wrong, or too many rows were quarantined; the message
            says which and why, ``.ranks`` names the ranks. Nothing is written then.
    """
    store = open_store(path, storage_options)
    settings = {"inputs": True, "reconstruct": [], **(settings or {})}
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise ValueError(f"unknown settings {unknown}; expected some of {list(SETTINGS)}")
    markers = _await_markers(store, plan, attempt, wait_s)
    attempt = attempt if attempt is not None else markers[0].attempt
    problems: dict[int, str] = {}
    for rank, marker in enumerate(markers):
        if why := _marker_problem(marker, markers[0], plan, rank, attempt):
            problems[rank] = f"{store.uri(marker_name(rank))}: {why}"
            continue
        for file in (*marker.files, *marker.rejected):
            if why := file_problem(store, file, marker):
                problems[rank] = f"{store.uri(file.path)}: {why}"
    _refuse(store, problems)
    _refuse(store, _span_problems(markers, plan))
    _check_adopted(store, adopted, markers[0], plan)
    own = [_ranked(marker.rank, file) for marker in markers for file in marker.files]
    files = [*own, *(_ranked(segment.rank, segment.file) for segment in adopted)]
    rejected = [_ranked(marker.rank, file) for marker in markers for file in marker.rejected]
    rejected += [_ranked(segment.rank, segment.rejected) for segment in adopted if segment.rejected]
    if max_rejected is not None and rejected:
        summary = summarize_rejected(store, rejected)
        check_rejected(summary.quarantined, max_rejected, plan.snapshot.rows, where=store.uri(),
                       examples=summary.examples, ranks=summary.ranks)  # fmt: skip
    manifest = Manifest(
        attempt=attempt,
        world_size=plan.world_size,
        plan=PlanRecord(digest=plan.digest, intervals=tuple(plan.intervals)),
        snapshot=plan.snapshot.to_json(),
        model=markers[0].model,
        schema=markers[0].schema_digest,
        row_hash=ROW_HASH,
        input_rows=sum(stop - start for file in files for start, stop in file.spans),
        rows=sum(file.rows for file in files),
        rejected_rows=sum(file.rows for file in rejected),
        files=tuple(sorted(files, key=lambda file: file.spans[:1] or ((plan.snapshot.rows, 0),))),
        rejected=tuple(rejected),
        settings={key: settings.get(key) for key in SETTINGS},
        versions=library_versions(),
        created=max(marker.finished for marker in markers),
    )
    try:
        store.write(MANIFEST_NAME, manifest.dumps(), if_absent=True)
    except FileExistsError as exc:
        raise IncompletePredictions(
            f"{store.uri(MANIFEST_NAME)} exists already and says something else: another attempt or commit owns the "
            "folder. Remedy: predict into a folder of its own"
        ) from exc
    return manifest


def _await_markers(store: Store, plan: Plan, attempt: str | None, wait_s: float) -> list[Marker]:
    """The markers of all ranks; one of another attempt counts as missing, for its rank may still replace it."""
    deadline = time.monotonic() + wait_s
    by_rank: dict[int, Marker] = {}
    while True:
        problems: dict[int, str] = {}
        for rank in range(plan.world_size):
            if rank in by_rank:
                continue
            try:
                data = store.read(marker_name(rank))
            except FileNotFoundError:
                problems[rank] = f"rank {rank} left no marker {store.uri(marker_name(rank))}"
                continue
            except StoreError:
                raise
            except OSError as exc:  # a folder or pipe of that name, or no right to read it
                problems[rank] = f"the marker of rank {rank} cannot be read: {exc}"
                continue
            marker = parse_document(Marker, data, store.uri(marker_name(rank)), ranks=[rank])
            if attempt is not None and marker.attempt != attempt:
                problems[rank] = f"the marker of rank {rank} is of attempt {marker.attempt!r}, expected {attempt!r}"
            else:
                by_rank[rank] = marker
        if not problems:
            return [by_rank[rank] for rank in range(plan.world_size)]
        if time.monotonic() >= deadline:
            _refuse(store, problems, f" after waiting {wait_s:g} s" if wait_s else "")
        time.sleep(_POLL_S)


def _marker_problem(marker: Marker, first: Marker, plan: Plan, rank: int, attempt: str) -> str | None:
    """Why ``marker`` cannot be rank ``rank``'s part of this plan and attempt, or None."""
    expected = {
        "rank": rank, "attempt": attempt, "world_size": plan.world_size, "plan": plan.digest,
        "snapshot": plan.snapshot.digest, "model": first.model, "schema_digest": first.schema_digest,
    }  # fmt: skip
    for name, value in expected.items():
        if getattr(marker, name) != value:
            why = f"{name.removesuffix('_digest')} is {getattr(marker, name)!r}, expected {value!r}"
            return why + (" (the schema of rank 0; remedy: schema=)" if name == "schema_digest" else "")
    if not marker.files:
        return "lists no file; a rank without rows lists one with zero rows"
    if any(file.attempt != attempt for file in (*marker.files, *marker.rejected)):
        return f"lists a file of another attempt, expected {attempt!r}; ranks adopt nothing"
    totals = (("rows", marker.rows, marker.files), ("rejected_rows", marker.rejected_rows, marker.rejected))
    for name, stated, files in totals:
        if stated != (total := sum(file.rows for file in files)):
            return f"{name} is {stated}, but its files hold {total}"
    return None


def file_problem(store: Store, file: SealedFile, expected: Marker | Manifest | Segment) -> str | None:
    """What is wrong with a sealed file, as far as its size and footer tell, or None. Reads the footer only."""
    try:
        size = store.stat(file.path).size
    except FileNotFoundError:
        return "is missing"
    if size != file.bytes:
        return f"has {size} bytes, expected {file.bytes}"
    footer, why = read_footer(store, file.path)
    if footer is None:
        return why or "carries no footer of a rank file"
    own = file.attempt == expected.attempt
    values: dict[str, object] = {"attempt": file.attempt, "rows": file.rows, "segment": file.segment,
                                 "model": expected.model, "schema_digest": expected.schema_digest}  # fmt: skip
    if not isinstance(expected, Manifest):
        values["snapshot"] = expected.snapshot
    if own:  # an adopted segment keeps the plan, rank and world size of the attempt that wrote it
        values["plan"] = expected.plan.digest if isinstance(expected, Manifest) else expected.plan
        values["world_size"] = expected.world_size
        values["rank"] = file.rank if isinstance(file, RankedFile) else getattr(expected, "rank", None)
    for name, value in values.items():
        if getattr(footer, name) != value:
            return f"footer says {name.removesuffix('_digest')} {getattr(footer, name)!r}, expected {value!r}"
    return None


def read_footer(store: Store, path: str) -> tuple[Footer | None, str | None]:
    """The footer of a Parquet file and, where it has none of ours or cannot be read, why."""
    try:
        with store.open(path) as handle:
            metadata = pq.read_metadata(handle)
    except (OSError, ValueError, pa.ArrowException) as exc:  # ValueError: damaged text in a footer
        return None, f"is no readable Parquet file ({exc})"
    data = (metadata.metadata or {}).get(FOOTER_KEY)
    if data is None:
        return None, None
    try:
        footer = parse_document(Footer, data, f"footer of {store.uri(path)}")
    except IncompletePredictions as exc:
        return None, f"carries a footer that cannot be used: {exc}"
    if footer.rows != metadata.num_rows:
        return None, f"holds {metadata.num_rows} rows, its footer says {footer.rows}"
    return footer, None


def _span_problems(markers: list[Marker], plan: Plan) -> dict[int, str]:
    """Why the markers do not account for exactly the plan's rows, by rank."""
    problems: dict[int, str] = {}
    for marker in markers:
        share = merge_spans(plan.share(marker.rank))
        try:
            spans = merge_spans(span for file in marker.files for span in file.spans)
        except IncompletePredictions as exc:
            problems[marker.rank] = f"rank {marker.rank}: {exc}"
            continue
        if spans != share:
            actual, expected = _short(spans), _short(share)
            problems[marker.rank] = f"rank {marker.rank} accounts for plan rows {actual}, expected {expected}"
    return problems


def _check_adopted(store: Store, adopted: Sequence[Segment], first: Marker, plan: Plan) -> None:
    """Raise unless the adopted segments are of this snapshot, model and schema, their files are there, and they and the
    plan's intervals are exactly the snapshot's rows."""
    problems = []
    expected = {"snapshot": plan.snapshot.digest, "model": first.model, "schema_digest": first.schema_digest,
                "row_hash": ROW_HASH}  # fmt: skip
    for segment in adopted:
        for name, value in expected.items():
            if (actual := getattr(segment, name)) != value:
                field = name.removesuffix("_digest")
                problems.append(f"{segment.file.path}: {field} is {actual!r}, expected {value!r}")
        for file in (segment.file, *([segment.rejected] if segment.rejected else [])):
            if why := file_problem(store, file, segment):
                problems.append(f"{file.path} {why}")
    try:
        spans = merge_spans([*(span for segment in adopted for span in segment.file.spans), *plan.intervals])
        everything = merge_spans([(0, plan.snapshot.rows)])
        if spans != everything:
            problems.append(f"with the plan they account for rows {_short(spans)}, expected {_short(everything)}")
    except IncompletePredictions as exc:
        problems.append(str(exc))
    if problems:
        raise IncompletePredictions(
            f"{store.uri()} cannot be committed: adopted segments: {'; '.join(problems[:5])}. Remedy: predict again "
            "with resume=False, which adopts nothing"
        )


def _short(spans: Iterable[Span]) -> str:
    texts = [f"[{start}, {stop})" for start, stop in spans]
    return " ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "") if texts else "none"


def _refuse(store: Store, problems: Mapping[int, str], after: str = "") -> None:
    if problems:
        ranks = sorted(problems)
        raise IncompletePredictions(
            f"{store.uri()} cannot be committed{after}: rank{'s' if len(ranks) > 1 else ''} "
            f"{', '.join(map(str, ranks))} at fault. "
            + "; ".join(problems[rank] for rank in ranks[:5])
            + ". Remedy: look at the logs of these ranks and predict again",
            ranks=ranks,
        )


def _ranked(rank: int, file: SealedFile) -> RankedFile:
    return RankedFile(rank=rank, **dict(file))


