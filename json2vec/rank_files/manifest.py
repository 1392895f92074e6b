"""What a prediction folder says about itself: `Footer` in every rank file, `Segment` in a rank's journal, `Marker` of
every rank, `Manifest` of all.

All are JSON with fixed keys (docs/rank-files.md). Unknown keys and unknown format versions are refused: a reader
that guesses is a reader that loses rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from json2vec.errors import IncompletePredictions, StoreError
from json2vec.storage.store import Store

FORMAT = 1
FOOTER_KEY = b"json2vec.rank_file"
MANIFEST_NAME = "_manifest.json"
REJECTED_SEGMENT = -1
"""`Footer.segment` of a file of rejected rows, which belongs to no segment."""

MAX_RANKS = 65_536
"""Ranks that a document may speak of: whoever reads it looks for each of them."""

Count = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Rank = Annotated[int, Field(ge=0, lt=MAX_RANKS, strict=True)]
Ranks = Annotated[int, Field(ge=1, le=MAX_RANKS, strict=True)]
SegmentNumber = Annotated[int, Field(ge=REJECTED_SEGMENT, lt=2**63, strict=True)]
Span = tuple[Count, Count]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    def dumps(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8. Equal documents have equal bytes."""
        value = self.model_dump(mode="json")
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class _Digests(_Document):
    """What every part of one attempt must agree on; digests are hex. ``schema_digest`` is ``schema`` in JSON."""

    format: Literal[1] = FORMAT
    attempt: str
    world_size: Ranks
    snapshot: str
    model: str
    schema_digest: str = Field(alias="schema")


class Footer(_Digests):
    """Key-value metadata of one Parquet file: enough to tell what the whole folder should hold.

    Attributes:
        attempt: the id that all ranks of one try share.
        rank: the global rank that wrote the file.
        world_size: the number of ranks of that try.
        segment: number of the file within its rank, from 0; `REJECTED_SEGMENT` in a file of rejected rows.
        rows: how many rows the file holds.
        plan: digest (hex) of the plan.
        snapshot: digest (hex) of the input.
        model: fingerprint (hex) of the model.
        schema_digest: digest (hex) of the file's schema.
        row_hash: name of the algorithm behind ``source.hash``.
    """

    rank: Rank
    segment: SegmentNumber
    rows: Count
    plan: str
    row_hash: str


class Reused(_Document):
    """Rows of a file whose predictions were taken from an earlier attempt.

    Attributes:
        attempt: the id of that attempt.
        manifest_sha256: SHA-256 (hex) of its manifest's bytes.
        rows: how many output rows were taken.
    """

    attempt: str
    manifest_sha256: str
    rows: Count


class SealedFile(_Document):
    """A file that will not change any more.

    Attributes:
        path: relative to the prediction folder.
        rows: how many output rows the file holds.
        bytes: the file's size in bytes.
        sha256: SHA-256 (hex) of the file's bytes.
        segment: number of the file within its rank, as in `Footer`.
        spans: half-open ranges of plan row numbers that the file accounts for, sorted and disjoint.
        attempt: the attempt that wrote it, which an adopted segment keeps.
        reused: rows that were taken from an earlier attempt; None, and no key in JSON, where all were predicted.
    """

    path: str
    rows: Count
    bytes: Count
    sha256: str
    segment: SegmentNumber
    spans: tuple[Span, ...]
    attempt: str
    reused: Reused | None = Field(None, exclude_if=lambda value: value is None)


class RankedFile(SealedFile):
    """A sealed file in the manifest, with the global rank that sealed it."""

    rank: Rank


class Segment(_Digests):
    """One sealed segment, a line of ``rank-N.segments.jsonl``: all that a later attempt must know to adopt it.

    Attributes:
        rank: the global rank that wrote it, as in the file's `Footer`.
        plan: digest (hex) of the plan of the attempt that wrote it.
        row_hash: name of the algorithm behind ``source.hash``.
        settings: digest (hex) over everything else that can change a prediction (`resume.settings_digest`).
        file: the file with the segment's output rows.
        rejected: the file with its rows that gave no output row; None where every row gave one.
        quarantined: how many rows of ``rejected`` could not be read or encoded; the others were dropped on purpose.
    """

    rank: Rank
    plan: str
    row_hash: str
    settings: str
    file: SealedFile
    rejected: SealedFile | None
    quarantined: Count


class Marker(_Digests):
    """``rank-N.json``, the last thing that a rank writes.

    Attributes:
        rank: the global rank that wrote it.
        plan: digest (hex) of the plan.
        rows: output rows of ``files`` together.
        input_rows: plan rows that the files account for.
        rejected_rows: rows of ``rejected`` together.
        files: the rank's sealed files, in order.
        rejected: the files of rejected rows, one for each segment that has such rows.
        started: when the rank began, UTC.
        finished: when it was done, UTC.
        batches: how many batches it wrote.
    """

    rank: Rank
    plan: str
    rows: Count
    input_rows: Count
    rejected_rows: Count
    files: tuple[SealedFile, ...]
    rejected: tuple[SealedFile, ...]
    started: AwareDatetime
    finished: AwareDatetime
    batches: Count

    @property
    def reused_rows(self) -> int:
        """Output rows whose predictions were taken from an earlier attempt."""
        return reused_rows(self.files)


class PlanRecord(_Document):
    """The plan of a committed folder: its digest and its half-open ranges of row numbers."""

    digest: str
    intervals: tuple[Span, ...]


class Manifest(_Document):
    """``_manifest.json``: the folder is complete, and these are its files.

    Attributes:
        plan: what this attempt predicted itself; rows outside its intervals are in adopted files.
        snapshot: `Snapshot.to_json` of the input.
        files: in the order of the plan. A file, also of rejected rows, whose ``attempt`` is another one was adopted;
            its ``rank`` is that of the attempt which sealed it.
        settings: device, precision, batch_size, threads, preprocessor, postprocessor, inputs, reconstruct.
        versions: of Python and of the libraries that can change a prediction.
        created: when the last rank finished, UTC; not the commit's own clock, so that committing again gives the
            same bytes.
    """

    format: Literal[1] = FORMAT
    attempt: str
    world_size: Ranks
    plan: PlanRecord
    snapshot: dict[str, Any]
    model: str
    schema_digest: str = Field(alias="schema")
    row_hash: str
    input_rows: Count
    rows: Count
    rejected_rows: Count
    files: tuple[RankedFile, ...]
    rejected: tuple[RankedFile, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    created: AwareDatetime

    @model_validator(mode="after")
    def _files_once(self) -> Self:
        """A file that is listed twice would be read twice."""
        seen: set[str] = set()
        for file in (*self.files, *self.rejected):
            if parse_name(file.path) is None or len(file.path) > 255:
                raise ValueError(f"it lists {file.path!r:.80}, which is no name of a rank file")
            if file.path in seen:
                raise ValueError(f"it lists the file {file.path!r} twice")
            seen.add(file.path)
        return self

    @property
    def reused_rows(self) -> int:
        """Output rows whose predictions were taken from earlier attempts."""
        return reused_rows(self.files)


def reused_rows(files: Iterable[SealedFile]) -> int:
    """Output rows of ``files`` whose predictions were taken from earlier attempts."""
    return sum(file.reused.rows for file in files if file.reused is not None)


DocumentType = TypeVar("DocumentType", bound=_Document)


def parse_document(
    document_type: type[DocumentType], data: bytes | str, where: str, *, ranks: Iterable[int] = ()
) -> DocumentType:
    """Parse one of the documents above.

    Args:
        document_type: `Footer`, `Segment`, `Marker` or `Manifest`.
        data: the JSON.
        where: the document's address, for messages.
        ranks: the ranks to blame.

    Raises:
        IncompletePredictions: the data is no JSON, is of another format version, or has a missing or an unknown key.
    """
    name = document_type.__name__.lower()
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise IncompletePredictions(
            f"{where} is not a {name}: {exc}. Expected JSON; it may be cut short. Remedy: predict again", ranks=ranks
        ) from exc
    version = value.get("format") if isinstance(value, dict) else None
    if version != FORMAT or isinstance(version, bool | float):
        raise IncompletePredictions(
            f"{where} has format version {version!r:.80}; this version reads {name}s of format {FORMAT}. "
            "Remedy: read it with the json2vec version that wrote it, or predict again",
            ranks=ranks,
        )
    try:
        return document_type.model_validate_json(data)
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()[:3])
        raise IncompletePredictions(f"{where} is malformed: {problems}. Remedy: predict again", ranks=ranks) from exc


def read_manifest(store: Store) -> Manifest:
    """The manifest of a committed prediction folder.

    Raises:
        IncompletePredictions: there is no manifest, it is malformed, or it cannot be read.
        StoreError: the store refuses.
    """
    try:
        data = store.read(MANIFEST_NAME)
    except (FileNotFoundError, NotADirectoryError):
        raise IncompletePredictions(
            f"{store.uri()} holds no {MANIFEST_NAME}: nothing was committed there. A rank died or is still running, or "
            "the folder is not one of predictions. Remedy: look at the ranks' logs and predict again"
        ) from None
    except StoreError:
        raise
    except OSError as exc:  # a folder of that name, or no right to read
        raise IncompletePredictions(
            f"{store.uri(MANIFEST_NAME)} cannot be read: {exc}. Remedy: restore it as a file that may be read, or "
            "predict again"
        ) from exc
    return parse_document(Manifest, data, store.uri(MANIFEST_NAME))


# -- names -------------------------------------------------------------------------------------------------------------


class FileName(NamedTuple):
    """What the name of a file in a prediction folder says.

    Attributes:
        kind: "rows", "rejected", "marker" or "error".
        rank: the rank that the file is of; `NO_RANK` for adopted files.
        open: whether the file is still being written (``*.tmp``).
    """

    kind: str
    rank: int
    open: bool


NO_RANK = -1
_PARQUET = re.compile(r"(rank|rejected)-(\d+)(?:\.\d+)?\.parquet(\.tmp)?")
_ADOPTED = re.compile(r"adopted-\d+(\.rejected)?\.parquet(\.tmp)?")
_JOURNAL = re.compile(r"rank-(\d+)\.segments\.jsonl")
_JSON = re.compile(r"\.?rank-(\d+)(\.error)?\.json(\..*\.tmp)?")


def rows_name(rank: int, segment: int, *, segmented: bool) -> str:
    """``rank-R.parquet``, or ``rank-R.K.parquet`` where the rank's share takes several segments."""
    return f"rank-{rank}.{segment}.parquet" if segmented else f"rank-{rank}.parquet"


def rejected_name(rank: int, segment: int, *, segmented: bool) -> str:
    """The rejected rows of the segment that `rows_name` names."""
    return f"rejected-{rank}.{segment}.parquet" if segmented else f"rejected-{rank}.parquet"


def adopted_name(number: int, *, rejected: bool = False) -> str:
    """A segment that an earlier attempt sealed; no rank of this attempt writes such a name."""
    return f"adopted-{number}{'.rejected' if rejected else ''}.parquet"


def journal_name(rank: int) -> str:
    return f"rank-{rank}.segments.jsonl"


def journal_rank(name: str) -> int | None:
    """The rank whose journal ``name`` is, or None. A journal is no part of the result, so `parse_name` knows none."""
    match = _JOURNAL.fullmatch(name)
    return int(match[1]) if match else None


def marker_name(rank: int) -> str:
    return f"rank-{rank}.json"


def parse_name(name: str) -> FileName | None:
    """What ``name`` says, or None for a file that the writer never makes and so never removes."""
    if match := _PARQUET.fullmatch(name):
        return FileName("rows" if match[1] == "rank" else "rejected", int(match[2]), match[3] is not None)
    if match := _ADOPTED.fullmatch(name):
        return FileName("rejected" if match[1] else "rows", NO_RANK, match[2] is not None)
    if match := _JSON.fullmatch(name):
        return FileName("error" if match[2] else "marker", int(match[1]), match[3] is not None)
    return None


def merge_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Sorted spans, those that touch made one, empty ones left out.

    Raises:
        IncompletePredictions: two spans overlap, so that some row would be predicted twice.
    """
    merged: list[list[int]] = []
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if merged and start < merged[-1][1]:
            raise IncompletePredictions(f"plan rows [{start}, {min(stop, merged[-1][1])}) are accounted for twice")
        if merged and start == merged[-1][1]:
            merged[-1][1] = stop
        else:
            merged.append([start, stop])
    return tuple((start, stop) for start, stop in merged)
