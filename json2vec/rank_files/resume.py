"""Resume: adopt what earlier attempts sealed, so that only the rest is predicted.

The unit is the sealed segment, with its half-open ranges of plan row numbers: planning is O(segments), however many
rows there are, and any number of ranks may predict the rest. A segment is adopted only if snapshot, settings and row
hash are those of the new attempt, and its file is byte for byte what the journal says.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from json2vec.errors import IncompletePredictions
from json2vec.rank_files.commit import file_problem
from json2vec.rank_files.journal import read_segments, write_adopted
from json2vec.rank_files.manifest import SealedFile, Segment, Span, adopted_name, merge_spans, parse_name
from json2vec.reading.row_hash import ROW_HASH
from json2vec.storage.store import Store, stored_sha256

_REPEATED = "has rows that are there already"
_HASHERS = 4  # threads that compare SHA-256; hashlib lets go of the interpreter's lock


@dataclass(frozen=True)
class FoundSegment:
    """A segment that an earlier attempt sealed.

    Attributes:
        folder: the folder of that attempt.
        segment: the segment, with paths relative to the folder.
    """

    folder: Store
    segment: Segment


@dataclass(frozen=True)
class Resume:
    """What a new attempt starts with.

    Attributes:
        adopted: segments whose files lie in the new attempt's folder, in the order of the plan.
        intervals: half-open ranges of plan row numbers that are left to predict.
        refused: why segments that looked right were not adopted, one text each.
    """

    adopted: tuple[Segment, ...]
    intervals: tuple[Span, ...]
    refused: tuple[str, ...] = ()

    @property
    def adopted_rows(self) -> int:
        """Input rows that need no prediction."""
        return sum(stop - start for segment in self.adopted for start, stop in segment.file.spans)


def find_segments(folders: Iterable[Store]) -> list[FoundSegment]:
    """The sealed and adopted segments of attempts, in the order of ``folders``."""
    segments = []
    for folder in folders:
        with contextlib.suppress(IncompletePredictions):  # a malformed list of adopted segments says nothing
            segments += [FoundSegment(folder, segment) for segment in read_segments(folder)]
    return segments


def choose_segments(
    candidates: Iterable[FoundSegment], *, snapshot: str, settings: str, quarantine: bool = True
) -> tuple[list[FoundSegment], dict[str, int]]:
    """Pick segments that together account for no row twice; earlier ones in ``candidates`` win.

    Args:
        candidates: the segments of earlier attempts.
        snapshot: digest (hex) of the new attempt's input.
        settings: digest (hex) of the new attempt's settings.
        quarantine: whether segments with quarantined rows may be adopted.

    Returns:
        the segments in the order of the plan, and by reason how many others were not picked.
    """
    chosen: list[FoundSegment] = []
    starts: list[int] = []  # of the spans that are taken, sorted, and where they stop
    stops: list[int] = []
    refusals: dict[str, int] = {}
    for candidate in candidates:
        segment = candidate.segment
        why = _unlike(segment, chosen[0].segment if chosen else None, snapshot, settings)
        if why is None and segment.quarantined and not quarantine:
            why = "has quarantined rows"
        spans = segment.file.spans
        if why is None and any(_taken(starts, stops, span) for span in spans):
            why = _REPEATED
        if why is not None:
            refusals[why] = refusals.get(why, 0) + 1
            continue
        chosen.append(candidate)
        for start, stop in spans:
            at = bisect.bisect_left(starts, start)
            starts.insert(at, start)
            stops.insert(at, stop)
    return sorted(chosen, key=lambda candidate: candidate.segment.file.spans), refusals


def _unlike(segment: Segment, first: Segment | None, snapshot: str, settings: str) -> str | None:
    if segment.snapshot != snapshot:
        return "is of another snapshot"
    if segment.settings != settings:
        return "is of other settings, code or library versions"
    if segment.row_hash != ROW_HASH:
        return "has other row hashes"
    # The settings hold the checkpoint's digest; what follows from it must be the same in all segments.
    if first is not None and (segment.model, segment.schema_digest) != (first.model, first.schema_digest):
        return "is of another model or schema"
    return None


def _taken(starts: list[int], stops: list[int], span: Span) -> bool:
    before = bisect.bisect_left(starts, span[1]) - 1
    return before >= 0 and stops[before] > span[0]


def remaining(rows: int, spans: Iterable[Span]) -> tuple[Span, ...]:
    """The half-open ranges of 0..rows that ``spans``, which are disjoint, leave over."""
    left, at = [], 0
    for start, stop in (*merge_spans(spans), (rows, rows)):
        if at < start:
            left.append((at, start))
        at = stop
    return tuple(left)


def resume(
    store: Store,
    earlier: Sequence[Store],
    *,
    rows: int,
    snapshot: str,
    settings: str,
    quarantine: bool = True,
) -> Resume:
    """Adopt into ``store`` what the attempts in ``earlier`` sealed, and tell what is left.

    Files are linked, or copied where the store cannot link (on S3 the server copies: nothing is sent again); then their
    size, SHA-256 and footer are compared. What does not fit is not adopted: its rows are predicted again.

    Args:
        store: the folder of the new attempt.
        earlier: the folders of earlier attempts, the newest first.
        rows: input rows in all.
        snapshot: digest (hex) of the new attempt's input; see `choose_segments`.
        settings: digest (hex) of the new attempt's settings.
        quarantine: whether segments with quarantined rows may be adopted.
    """
    chosen, refusals = choose_segments(
        find_segments(earlier), snapshot=snapshot, settings=settings, quarantine=quarantine
    )
    refusals.pop(_REPEATED, None)  # two attempts may well hold the same segment
    refused = [f"{count} segments not adopted: each {why}" for why, count in refusals.items()]
    with ThreadPoolExecutor(_HASHERS, "json2vec-adopt") as pool:
        results = list(pool.map(lambda pair: _adopt(store, *pair), enumerate(chosen)))
    adopted = tuple(result for result in results if isinstance(result, Segment))
    refused += [result for result in results if isinstance(result, str)]
    if adopted:
        write_adopted(store, adopted)
    left = remaining(rows, (span for segment in adopted for span in segment.file.spans))
    return Resume(adopted, left, tuple(refused))


def _adopt(folder: Store, number: int, candidate: FoundSegment) -> Segment | str:
    """The segment under its new names, or why it cannot be adopted."""
    segment = candidate.segment
    files = {"file": segment.file, "rejected": segment.rejected}
    new_paths: list[str] = []
    try:
        for part, file in files.items():
            if file is None:
                continue
            if parse_name(file.path) is None:  # a journal cannot make us touch files elsewhere
                raise OSError(f"{file.path!r} is no name of a rank file")
            new_paths.append(adopted_name(number, rejected=part == "rejected"))
            folder.copy(candidate.folder, file.path, new_paths[-1])
            files[part] = SealedFile(**{**dict(file), "path": new_paths[-1]})
            # Compared after linking: whatever happens to the old name now, these are the bytes we hold.
            why = file_problem(folder, files[part], segment)
            if why is None and stored_sha256(folder, new_paths[-1]) != file.sha256:
                why = f"does not have SHA-256 {file.sha256}"
            if why is not None:
                raise OSError(why)
    except OSError as exc:
        for path in new_paths:
            folder.delete(path)
        return f"{candidate.folder.uri(segment.file.path)} not adopted, its rows are predicted again: {exc}"
    return Segment.model_validate({**dict(segment), **files})
