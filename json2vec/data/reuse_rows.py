"""Rows whose predictions are known already, and batches of only those that are not.

A chunk of input rows is looked up at once; what is left of it is preprocessed and encoded, so that the model sees full
batches of changed rows however thinly they are spread. `Batch.rows` then accounts for the whole chunk: its ``stored``
says where each row's prediction comes from, and the writer puts both together in the original order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa

from json2vec.batch import Batch
from json2vec.reading.formats.piece import MAX_PIECE_ROWS
from json2vec.reading.preprocessing import PreprocessorRun
from json2vec.reading.row_batch import RejectedRows, RowBatch, Stored, source_array
from json2vec.reading.snapshot import Snapshot

CHUNK_BYTES = 32 << 20
_IN_MEMORY = 4  # about so many times as large as in a compressed file
FIRST_ROWS = 1024  # rows that infer a preprocessor's schema, as in a full run


@dataclass(frozen=True)
class StoredRows:
    """What an earlier attempt knows of N input rows.

    Attributes:
        predictions: stored predictions, more than are wanted where that saves a copy.
        first: int64 (N,): where in ``predictions`` those of each row begin; -1 for a row that must be predicted.
        counts: int64 (N,): how many output rows each has, where ``first`` is not -1.
    """

    predictions: pa.StructArray
    first: np.ndarray
    counts: np.ndarray


class StoredPredictions(Protocol):
    """An earlier attempt whose predictions may be taken; `json2vec.rank_files.reuse.Reuse`."""

    attempt: str
    manifest_sha256: str

    def look_up(self, source: pa.StructArray) -> StoredRows:
        """Find the rows with these identities (`SOURCE_TYPE`, one a row as read)."""
        ...


def chunk_rows(snapshot: Snapshot, batch_size: int) -> int:
    """How many rows to look up at once: 65,536, fewer where they are large, never less than a batch."""
    size = int(np.sum(snapshot.files["size"].to_numpy())) * _IN_MEMORY // max(snapshot.rows, 1)
    return max(batch_size, min(MAX_PIECE_ROWS, CHUNK_BYTES // max(size, 1)))


def reuse_rows(
    chunks: Iterable[RowBatch],
    stored: StoredPredictions,
    encode: Callable[[RowBatch], Batch],
    *,
    snapshot: Snapshot,
    batch_size: int,
    run: PreprocessorRun | None = None,
    infer_schema: bool = False,
    address: Callable[[str], str] = str,
) -> Iterator[Batch]:
    """Batches that account for all rows of ``chunks`` and hold, encoded, only those that ``stored`` does not know.

    Args:
        chunks: rows as read, in the order of the plan, one output row for each input row.
        stored: the earlier attempt whose predictions may be taken.
        encode: makes a batch of rows; it may set rows aside as rejected.
        snapshot: the frozen list of the files that the rows come from.
        batch_size: rows to predict in one batch at most, before a preprocessor makes several of one.
        run: the preprocessor; it only sees the rows to predict.
        infer_schema: let it see the first rows as well, as in a full run, because its schema is taken from them.
        address: how messages name a file: takes its path, gives its address.
    """
    starts = dict(zip(snapshot.files["path"].to_pylist(), snapshot.starts.tolist(), strict=False))
    ratio = 1.0  # output rows that the preprocessor makes of one input row
    for chunk in chunks:
        if run is not None and infer_schema and len(chunk):
            first = chunk.inputs.slice(0, max(batch_size, FIRST_ROWS))
            observations, _ = run(first, _namer(chunk.source, address))
            ratio, infer_schema = max(1.0, observations.num_rows / first.num_rows), False
        looked_up = stored.look_up(chunk.source)
        for rows, begin in _cut(chunk, looked_up.first < 0, max(1, int(batch_size / ratio)), starts):
            part = slice(begin, begin + len(rows))
            piece = StoredRows(looked_up.predictions, looked_up.first[part], looked_up.counts[part])
            to_predict = np.flatnonzero(piece.first < 0)
            fresh, origin = _fresh(rows, to_predict, run, address)
            if run is not None and len(to_predict):
                ratio = max(ratio, len(origin) / len(to_predict))
            batch = encode(fresh) if len(fresh) else Batch({}, 0, fresh)
            assert batch.rows is not None
            origin = origin[_kept(fresh, batch.rows)]
            whole = _whole(rows, batch.rows, origin, piece, stored)
            yield replace(batch, rows=replace(batch.rows, stored=whole))


def _cut(
    rows: RowBatch, unknown: np.ndarray, limit: int, starts: dict[str, int]
) -> Iterator[tuple[RowBatch, int]]:
    """``rows`` in parts that have at most ``limit`` unknown rows each, and where in ``rows`` each part begins."""
    cuts = np.flatnonzero(unknown)[limit::limit]
    if not len(cuts):
        yield rows, 0
        return
    numbers = _numbers(rows.source.field("file"), rows.source.field("row"), starts)
    rejected = rows.rejected
    set_aside = np.zeros(0, np.int64) if rejected is None else _numbers(rejected.file, rejected.row, starts)
    begins = [0, *cuts.tolist()]
    stops = [*cuts.tolist(), len(rows)]
    spans = [rows.span[0], *numbers[cuts].tolist(), rows.span[1]]
    for i, (begin, stop) in enumerate(zip(begins, stops, strict=True)):
        inputs = rows.inputs.slice(begin, stop - begin)
        rejected_here = None
        if rejected is not None:
            low, high = np.searchsorted(set_aside, spans[i : i + 2])
            rejected_here = rejected.slice(int(low), int(high)) if low < high else None
        source = rows.source.slice(begin, stop - begin)
        yield RowBatch(inputs, inputs, source, (spans[i], spans[i + 1]), rejected_here), begin


def _numbers(files: pa.Array, rows: pa.Array, starts: dict[str, int]) -> np.ndarray:
    """The plan's row numbers of rows of the snapshot's files."""
    names = files if isinstance(files, pa.DictionaryArray) else files.dictionary_encode()
    first = np.array([starts[name] for name in names.dictionary.to_pylist()], np.int64)
    return first[names.indices.to_numpy()] + rows.to_numpy()


def _fresh(
    rows: RowBatch, to_predict: np.ndarray, run: PreprocessorRun | None, address: Callable[[str], str]
) -> tuple[RowBatch, np.ndarray]:
    """The rows to predict, preprocessed, and int64 (K,): which of ``rows`` each of them came from."""
    everything = len(to_predict) == len(rows)
    index = pa.array(to_predict)
    inputs = rows.inputs if everything else rows.inputs.take(index)
    source = rows.source if everything else rows.source.take(index)
    if run is None or not len(to_predict):
        return RowBatch(inputs, inputs, source, rows.span, rows.rejected), to_predict
    observations, origin = run(inputs, _namer(source, address))
    parts = np.bincount(origin, minlength=len(to_predict))
    part = np.arange(len(origin)) - (np.cumsum(parts) - parts)[origin]
    rejected = rows.rejected
    if len(dropped := np.flatnonzero(parts == 0)):
        lost = source.take(pa.array(dropped))
        reasons, raw = pa.array(["dropped"] * len(lost)), pa.nulls(len(lost), pa.string())
        names = lost.field("file").cast(pa.string())
        rejected = RejectedRows.concat([rejected, RejectedRows(names, lost.field("row"), reasons, raw)])
    fresh = RowBatch(
        inputs.take(pa.array(origin)), observations, _with_parts(source.take(pa.array(origin)), part, parts[origin]),
        rows.span, rejected,
    )  # fmt: skip
    return fresh, to_predict[origin]


def _kept(before: RowBatch, after: RowBatch) -> np.ndarray:
    """bool (len(before),): which rows the encoder did not reject."""
    kept = np.ones(len(before), bool)
    if len(after) == len(before) or after.rejected is None:
        return kept
    earlier = 0 if before.rejected is None else len(before.rejected)
    files, numbers = before.source.field("file").cast(pa.string()), before.source.field("row").to_numpy()
    rejected = after.rejected.slice(earlier, len(after.rejected))
    for file, row in zip(rejected.file.to_pylist(), rejected.row.to_pylist(), strict=True):
        for at in np.flatnonzero(numbers == row):
            kept[at] &= files[int(at)].as_py() != file
    return kept


def _whole(
    rows: RowBatch, fresh: RowBatch, origin: np.ndarray, looked_up: StoredRows, stored: StoredPredictions
) -> Stored:
    """All output rows of ``rows``: K fresh ones, the i-th of row ``origin[i]``, and the stored ones."""
    reused = np.flatnonzero(looked_up.first >= 0)
    first, counts = looked_up.first[reused], looked_up.counts[reused]
    k = len(origin)
    if k + len(reused) == len(rows) and (counts == 1).all() and (np.diff(origin) > 0).all():
        order = np.empty(len(rows), np.int64)
        order[origin], order[reused] = np.arange(k), k + first
        inputs, source = rows.inputs, rows.source
    else:
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        index = np.concatenate([origin, np.repeat(reused, counts)])
        at = np.concatenate([np.arange(k), k + np.repeat(first, counts) + within])
        columns = (fresh.source.field(name).to_numpy() for name in ("part", "parts"))
        part, parts = (np.concatenate(pair) for pair in zip(columns, (within, np.repeat(counts, counts)), strict=True))
        by_row = np.argsort(index, kind="stable")
        order, taken = at[by_row], pa.array(index[by_row])
        inputs = rows.inputs.take(taken)
        source = _with_parts(rows.source.take(taken), part[by_row], parts[by_row])
    return Stored(inputs, source, looked_up.predictions, order, len(order) - k, stored.attempt, stored.manifest_sha256)


def _with_parts(source: pa.StructArray, part: np.ndarray, parts: np.ndarray) -> pa.StructArray:
    names = source.field("file")
    return source_array(
        names.dictionary.to_pylist(), names.indices.to_numpy(), source.field("row").to_numpy(),
        part.astype(np.int32), parts.astype(np.int32), source.field("hash").to_numpy(),
    )  # fmt: skip


def _namer(source: pa.StructArray, address: Callable[[str], str]) -> Callable[[int], str]:
    def name(index: int) -> str:
        if not len(source):
            return "no row"
        return f"{address(source.field('file')[index].as_py())}: row {source.field('row')[index].as_py()}"

    return name
