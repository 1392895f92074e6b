"""Incremental prediction: take the stored predictions of rows that have not changed since an earlier attempt.

A prediction follows from the row, the model and the settings. So the earlier attempt must be of the same model
fingerprint, the same settings as its journals recorded them when it predicted (`resume.settings_digest`: processors and
their code, precision, library versions, ...), the same input schema and the same prediction type; then a row whose hash
it has takes what it has. Everything else is predicted again, and so is whatever cannot be read or is not byte for byte
what the manifest says: nothing here makes a prediction fail, or wrong.

Rows are looked for at their old place first, then by hash, so that inserted, moved and renamed rows are found too.
Needs about 16 bytes of memory a row of the earlier attempt in each rank, and a few row groups of predictions.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.data.reuse_rows import StoredRows
from json2vec.errors import Json2VecError
from json2vec.rank_files.commit import file_problem
from json2vec.rank_files.journal import read_adopted
from json2vec.rank_files.locator import Locator
from json2vec.rank_files.manifest import MANIFEST_NAME, Manifest, RankedFile, Segment, journal_name, parse_document
from json2vec.rank_files.reader import read_snapshot
from json2vec.reading.row_batch import Stored
from json2vec.reading.row_hash import ROW_HASH
from json2vec.reading.snapshot import Snapshot
from json2vec.storage.store import Store, stored_sha256

MAX_ROWS = 100_000_000
"""Rows of an earlier attempt, beyond which nothing is reused: its hashes must fit into each rank's memory."""
_KEPT_GROUPS = 4  # decoded row groups that are kept: chunks follow one another, and so do the rows in them
_MOST_GROUPS = 16  # decoded for one chunk
_WORTH = 64  # beyond the kept ones, a row group is decoded for one wanted row in so many
_UNREADABLE = (OSError, ValueError, KeyError, pa.ArrowException, Json2VecError)


class Unusable(Json2VecError):
    """Nothing of an earlier attempt may be reused; the message says why."""


@dataclass(frozen=True)
class _Rows:
    """The G input rows behind one file's output rows.

    Attributes:
        hashes: uint64 (G,), the rows' hashes.
        numbers: int64 (G,), the earlier plan's row numbers.
        first: int64 (G,), the output row where each input row begins.
        counts: int64 (G,), how many output rows each input row gave.
    """

    hashes: np.ndarray
    numbers: np.ndarray
    first: np.ndarray
    counts: np.ndarray


def open_reuse(
    store: Store,
    *,
    model: str,
    settings: str,
    snapshot: Snapshot,
    predictions: pa.DataType,
    log: Callable[[str], None],
) -> Reuse:
    """Open the earlier attempt in ``store``.

    Args:
        store: the earlier attempt's folder.
        model: fingerprint of the model that predicts now.
        settings: digest (hex) of everything else that can change a prediction.
        snapshot: the input that is to be predicted now.
        predictions: type of the ``predictions`` column that is to be written.
        log: is called with a text for each file that cannot be used, and why; its rows are predicted again.

    Raises:
        Unusable: the attempt is another model's, was made with other settings, is not complete, ...
    """
    try:
        data = store.read(MANIFEST_NAME)
        manifest = parse_document(Manifest, data, store.uri(MANIFEST_NAME))
        before = read_snapshot(store, manifest)
        _check_alike(manifest, before, model=model, snapshot=snapshot)
        segments = _segments(store, manifest)
    except Unusable:
        raise
    except _UNREADABLE as exc:
        raise Unusable(f"{store.uri()} cannot be read: {type(exc).__name__}: {exc}") from exc
    for file in manifest.files:
        if file.rows:
            _check_settings(store, file, segments.get(file.path), settings)
    return Reuse(store, manifest, hashlib.sha256(data).hexdigest(), before, snapshot, predictions, log)


def _check_alike(manifest: Manifest, before: Snapshot, *, model: str, snapshot: Snapshot) -> None:
    where = f"attempt {manifest.attempt}"
    if manifest.model != model:
        raise Unusable(f"{where} is of another model: fingerprint {manifest.model[:12]}..., expected {model[:12]}...")
    if manifest.row_hash != ROW_HASH:
        raise Unusable(f"{where} has row hashes {manifest.row_hash!r}, expected {ROW_HASH!r}")
    if manifest.rows > MAX_ROWS:
        raise Unusable(f"{where} has {manifest.rows:,} rows; more than {MAX_ROWS:,} are not indexed")
    # Equal hashes mean equal values, not equal types: as a category, 1 and 1.0 are two labels.
    if not before.schema.equals(snapshot.schema):
        changed = sorted({*before.schema} ^ {*snapshot.schema}, key=lambda column: column.name)
        names = ", ".join(dict.fromkeys(column.name for column in changed)) or "the order of the columns"
        raise Unusable(f"{where} read inputs of another schema; it differs in {names}")


def _segments(store: Store, manifest: Manifest) -> dict[str, Segment]:
    """What the journals say of the manifest's files, by path."""
    segments: list[Segment] = []
    for rank in sorted({file.rank for file in manifest.files if file.attempt == manifest.attempt and file.rows}):
        where = journal_name(rank)
        segments += [parse_document(Segment, line, store.uri(where)) for line in store.read(where).splitlines()]
    if any(file.attempt != manifest.attempt for file in manifest.files):
        segments += read_adopted(store)
    return {segment.file.path: segment for segment in segments}


def _check_settings(store: Store, file: RankedFile, segment: Segment | None, settings: str) -> None:
    if segment is None or segment.file.sha256 != file.sha256:
        raise Unusable(f"no journal says how {store.uri(file.path)} was predicted")
    if segment.settings != settings:
        raise Unusable(f"{store.uri(file.path)} was predicted with other settings, code or library versions")


class Reuse:
    """The stored predictions of one earlier attempt; see `open_reuse`.

    Attributes:
        attempt: the id of that attempt.
        manifest_sha256: SHA-256 (hex) of its manifest's bytes.
        rows: how many output rows may be taken.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        manifest_sha256: str,
        before: Snapshot,
        snapshot: Snapshot,
        predictions: pa.DataType,
        log: Callable[[str], None],
    ) -> None:
        self.attempt, self.manifest_sha256 = manifest.attempt, manifest_sha256
        self._store, self._log, self._predictions_type = store, log, predictions
        self._before, self._snapshot = before, snapshot
        self._files: list[RankedFile] = []
        self._metadata: list[pq.FileMetaData] = []
        loaded: list[_Rows] = []
        groups: list[tuple[int, int, int]] = []  # file, row group in it, rows
        base = 0
        plain = manifest.settings.get("preprocessor") is None
        for file in manifest.files:
            if not file.rows:
                continue
            try:
                if why := file_problem(store, file, manifest):
                    raise Unusable(why)
                rows, metadata = self._load(file, plain)
            except _UNREADABLE as exc:
                log(self._not_reused(file, exc))
                continue
            sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
            groups += [(len(self._files), number, size) for number, size in enumerate(sizes)]
            loaded.append(_Rows(rows.hashes, rows.numbers, rows.first + base, rows.counts))
            self._files.append(file)
            self._metadata.append(metadata)
            base += file.rows
        self.rows = base
        self._hashes, numbers, self._first, self._counts = (
            np.concatenate([getattr(rows, name) for rows in loaded] or [np.zeros(0, np.int64)])
            for name in ("hashes", "numbers", "first", "counts")
        )
        # Where the row with each of the earlier plan's numbers is; usually at that very number.
        self._place: np.ndarray | None = None
        if not np.array_equal(numbers, np.arange(len(numbers))):
            self._place = np.full(before.rows, -1, np.int64)
            self._place[numbers] = np.arange(len(numbers))
        self._groups = groups
        self._group_starts = np.cumsum([0, *(size for _, _, size in groups)], dtype=np.int64)
        self._decoded: OrderedDict[int, pa.StructArray] = OrderedDict()
        self._compared: set[int] = set()
        self._refused: set[int] = set()

    # -- loading -------------------------------------------------------------------------------------------------------

    def _load(self, file: RankedFile, plain: bool) -> tuple[_Rows, pq.FileMetaData]:
        """The input rows of a file, and where in it everything is."""
        with self._store.open(file.path) as handle:
            parquet = pq.ParquetFile(handle, page_checksum_verification=True)
            arrow_type = parquet.schema_arrow.field("predictions").type
            if arrow_type != self._predictions_type:
                raise Unusable(f"its predictions are {arrow_type}, expected {self._predictions_type}")
            in_order = plain and file.rows == sum(stop - start for start, stop in file.spans)
            source = _whole_array(parquet.read(columns=["source.hash" if in_order else "source"])["source"])
        stated = sum(parquet.metadata.row_group(number).num_rows for number in range(parquet.metadata.num_row_groups))
        if not len(source) == stated == file.rows:
            raise Unusable(f"it holds {len(source)} rows in groups of {stated} in all, expected {file.rows}")
        hashes = source.field("hash").to_numpy()
        if in_order:  # every row of the spans, one after the other
            numbers = np.concatenate([np.arange(*span) for span in file.spans])
            every = np.arange(file.rows)
            return _Rows(hashes, numbers, every, np.ones_like(every)), parquet.metadata
        numbers = Locator(self._before).plan_rows(source)
        part, parts = (source.field(name).to_numpy().astype(np.int64) for name in ("part", "parts"))
        first = np.flatnonzero(part == 0)
        counts = np.diff(np.append(first, len(part)))
        same = (first[:1] == 0).all() and (parts == np.repeat(counts, counts)).all()
        same = same and all((each == np.repeat(each[first], counts)).all() for each in (numbers, hashes))
        if not same or (numbers < 0).any() or (part != np.arange(len(part)) - np.repeat(first, counts)).any():
            raise Unusable("the parts of its rows do not follow one another")
        return _Rows(hashes[first], numbers[first], first, counts), parquet.metadata

    def _not_reused(self, file: RankedFile, why: object) -> str:
        return f"{self._store.uri(file.path)} is not reused, its {file.rows:,} rows are predicted again: {why}"

    # -- finding -------------------------------------------------------------------------------------------------------

    def look_up(self, source: pa.StructArray) -> StoredRows:
        """See `json2vec.data.reuse_rows.StoredPredictions`."""
        hashes = source.field("hash").to_numpy()
        place = self._find(source, hashes)
        known = np.flatnonzero(place >= 0)
        counts = np.ones(len(place), np.int64)
        counts[known] = self._counts[place[known]]
        first = np.full(len(place), -1, np.int64)
        predictions, first[known] = self._gather(self._first[place[known]], counts[known])
        return StoredRows(predictions, first, counts)

    def _find(self, source: pa.StructArray, hashes: np.ndarray) -> np.ndarray:
        """int64 (N,): the place of a stored row with each hash, -1 where there is none."""
        rows = len(self._hashes)
        if not rows or not len(hashes):
            return np.full(len(hashes), -1, np.int64)
        guess = self._guess(source)
        place = np.where(self._holds(guess, hashes), guess, -1)
        missing = np.flatnonzero(place < 0)
        if not len(missing):
            return place
        ordered, order = self._by_hash
        missing_hashes = hashes[missing]
        at = np.minimum(np.searchsorted(ordered, missing_hashes), rows - 1)
        there = ordered[at] == missing_hashes
        missing, by_hash = missing[there], order[at[there]].astype(np.int64)
        if len(missing):
            # Most moved rows have moved together. Of several equal rows the one that moved with them is wanted, so that
            # neighbours stay neighbours and few row groups are read.
            steps, votes = np.unique(by_hash - guess[missing], return_counts=True)
            together = guess[missing] + steps[np.argmax(votes)]
            place[missing] = np.where(self._holds(together, hashes[missing]), together, by_hash)
        return place

    def _holds(self, place: np.ndarray, hashes: np.ndarray) -> np.ndarray:
        """bool (N,): whether the stored rows at ``place``, which may be anything, have these hashes."""
        inside = (place >= 0) & (place < len(self._hashes))
        return inside & (self._hashes[np.where(inside, place, 0)] == hashes)

    def _guess(self, source: pa.StructArray) -> np.ndarray:
        """int64 (N,): where each row was if nothing was inserted, removed or renamed."""
        names, row = source.field("file"), source.field("row").to_numpy()
        paths, files = names.dictionary.to_pylist(), names.indices.to_numpy()
        starts = np.array([self._starts.get(path, (0, 0, 0)) for path in paths], np.int64).reshape(-1, 3)[files]
        number = np.where(row < starts[:, 1], starts[:, 0], starts[:, 2]) + row
        if self._place is None:
            return number
        inside = number < len(self._place)
        return np.where(inside, self._place[np.where(inside, number, 0)], -1)

    @cached_property
    def _starts(self) -> dict[str, tuple[int, int, int]]:
        """By path: the earlier plan's number of the file's first row, how many rows it had, and the number today."""
        old = {
            path: (start, rows)
            for path, start, rows in zip(
                self._before.files["path"].to_pylist(), self._before.starts.tolist(),
                self._before.files["rows"].to_pylist(), strict=False,
            )
        }  # fmt: skip
        paths, today = self._snapshot.files["path"].to_pylist(), self._snapshot.starts.tolist()
        return {path: (*old.get(path, (0, 0)), start) for path, start in zip(paths, today, strict=False)}

    @cached_property
    def _by_hash(self) -> tuple[np.ndarray, np.ndarray]:
        """The stored rows' hashes in ascending order, and the place of each."""
        order = np.argsort(self._hashes)
        return self._hashes[order], order.astype(np.int32)

    # -- gathering -----------------------------------------------------------------------------------------------------

    def _gather(self, first: np.ndarray, counts: np.ndarray) -> tuple[pa.StructArray, np.ndarray]:
        """The predictions of output rows ``first`` to ``first + counts - 1`` of each of M input rows, and more.

        Returns:
            the predictions, and int64 (M,): where in them those of each input row begin; -1 where they are not worth
            reading, or cannot be read.
        """
        begins = np.full(len(first), -1, np.int64)
        group = np.searchsorted(self._group_starts, first, side="right") - 1
        whole = first + counts <= self._group_starts[group + 1] if len(first) else group >= 0
        taken: list[pa.StructArray] = []
        size = 0
        for number in self._worth_reading(group[whole]):
            array = self._predictions(number)
            if array is None:
                continue
            mine = np.flatnonzero((group == number) & whole)
            at = first[mine] - self._group_starts[number]
            low, high = int(at.min()), int((at + counts[mine]).max())
            rows = int(counts[mine].sum())
            if 4 * rows < high - low:
                within = np.arange(rows) - np.repeat(np.cumsum(counts[mine]) - counts[mine], counts[mine])
                taken.append(array.take(pa.array(np.repeat(at, counts[mine]) + within)))
                begins[mine] = size + np.cumsum(counts[mine]) - counts[mine]
            else:
                taken.append(array.slice(low, high - low))
                begins[mine] = size + at - low
            size += len(taken[-1])
        while len(self._decoded) > _KEPT_GROUPS:
            self._decoded.popitem(last=False)
        if len(taken) == 1:
            return taken[0], begins
        return pa.concat_arrays(taken) if taken else pa.array([], self._predictions_type), begins

    def _worth_reading(self, group: np.ndarray) -> list[int]:
        """Which row groups to decode for one wanted row in each of ``group``, ascending."""
        groups, rows_wanted = np.unique(group, return_counts=True)
        by_number = np.argsort(-rows_wanted, kind="stable")
        chosen = []
        for rank, i in enumerate(by_number[:_MOST_GROUPS].tolist()):
            number = int(groups[i])
            if rank < _KEPT_GROUPS or number in self._decoded or rows_wanted[i] * _WORTH >= self._groups[number][2]:
                chosen.append(number)
        return sorted(chosen)

    def _predictions(self, group: int) -> pa.StructArray | None:
        """The predictions of a row group, or None where its file cannot be used."""
        if group in self._decoded:
            self._decoded.move_to_end(group)
            return self._decoded[group]
        number, inside, _ = self._groups[group]
        if number in self._refused:
            return None
        try:
            self._compare(number)
            with self._store.open(self._files[number].path) as handle:
                parquet = pq.ParquetFile(handle, metadata=self._metadata[number], page_checksum_verification=True)
                array = _whole_array(parquet.read_row_group(inside, columns=["predictions"])["predictions"])
        except _UNREADABLE as exc:
            self._refused.add(number)
            self._log(self._not_reused(self._files[number], exc))
            return None
        self._decoded[group] = array
        return array

    def _compare(self, number: int) -> None:
        """Compare a file with its SHA-256 in the manifest, once, before anything is taken from it."""
        if number in self._compared:
            return
        file = self._files[number]
        if (digest := stored_sha256(self._store, file.path)) != file.sha256:
            raise Unusable(f"its SHA-256 is {digest}, expected {file.sha256}")
        self._compared.add(number)


def merged(fresh: pa.StructArray, stored: Stored) -> pa.StructArray:
    """The predictions of all N rows of ``stored``, in their order.

    Args:
        fresh: the predictions that the model just made, of the same type.
        stored: the others, and the order in which both follow one another.
    """
    order = stored.order
    if not len(fresh) and len(order) and order[-1] - order[0] == len(order) - 1 and (np.diff(order) == 1).all():
        return stored.predictions.slice(int(order[0]), len(order))
    both = pa.concat_arrays([fresh, stored.predictions]) if len(fresh) else stored.predictions
    return both.take(pa.array(order))


def _whole_array(column: pa.ChunkedArray) -> pa.StructArray:
    whole = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    assert isinstance(whole, pa.StructArray)
    return whole
