"""From ranges of a snapshot's rows to `RowBatch`es: open, read, cast, hash, preprocess, cut to size.

Memory is bounded by a few pieces of a file (about 16 MB each, or one NDJSON block, IPC batch or ORC stripe).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from json2vec.enums import Strata
from json2vec.errors import ReadError, SnapshotChanged
from json2vec.processors import Preprocessor, as_preprocessor
from json2vec.reading.conform import conform
from json2vec.reading.folder_columns import folder_values, with_folder_columns
from json2vec.reading.formats import FORMATS, foreign, format_of, read_error
from json2vec.reading.formats.piece import MAX_PIECE_ROWS, BadRow, Piece
from json2vec.reading.lasting_values import lasting_piece
from json2vec.reading.plan import FileRange, locate
from json2vec.reading.preprocessing import PreprocessorRun
from json2vec.reading.row_batch import RejectedRows, RowBatch, source_array
from json2vec.reading.row_hash import row_hash
from json2vec.reading.snapshot import Snapshot, check_file, frame_table
from json2vec.storage.store import Store

if TYPE_CHECKING:
    import polars as pl

__all__ = ["OnBadRow", "RejectedRows", "read_rows"]

OnBadRow = Literal["raise", "quarantine"]

_FIRST_ROWS = 1024  # at least so many rows infer a preprocessor's schema, however small the batches
_MAX_REJECTED = 65536  # rows that may be rejected in a row before a batch without rows reports them
_MAX_BYTES = 256 << 20  # of inputs in a batch, or one row


@dataclass(frozen=True)
class _Chunk:
    """Output rows on their way into batches; all arrays (n,).

    ``number`` is the plan's row number of the input row, ``stop`` the plan's row number after the last input row.
    """

    inputs: pa.RecordBatch
    observations: pa.RecordBatch
    file: int
    number: np.ndarray
    row: np.ndarray
    part: np.ndarray
    parts: np.ndarray
    hashes: np.ndarray
    stop: int

    def __len__(self) -> int:
        return len(self.number)

    @property
    def nbytes(self) -> int:
        """Bytes of the inputs and of what was made of them."""
        return self.inputs.nbytes + (0 if self.observations is self.inputs else self.observations.nbytes)

    def slice(self, start: int, stop: int) -> _Chunk:
        inputs = self.inputs.slice(start, stop - start)
        same = self.observations is self.inputs
        observations = inputs if same else self.observations.slice(start, stop - start)
        arrays = [a[start:stop] for a in (self.number, self.row, self.part, self.parts, self.hashes)]
        return _Chunk(inputs, observations, self.file, *arrays, stop=self.stop)


def read_rows(
    snapshot: Snapshot,
    store_or_frame: Store | pl.DataFrame | pl.LazyFrame | pa.Table,
    ranges: Iterable[tuple[int, int]],
    *,
    batch_size: int,
    preprocessor: Preprocessor | None = None,
    on_bad_row: OnBadRow = "raise",
    check: bool = True,
    strata: Strata | str = Strata.predict,
) -> Iterator[RowBatch]:
    """Read ranges of the plan's row numbers.

    Batches have exactly ``batch_size`` output rows and go across file borders, except that the last of a range (of
    consecutive ones: of the last) may be shorter, that one ends early where its inputs have some 256 MiB, and that the
    rows a preprocessor makes of one input row always stay in one batch: then a batch may be shorter, and where one
    input row gives more than ``batch_size`` rows, longer.
    The spans of the batches together are exactly the ranges. A batch has no rows only where all its span was rejected.

    Args:
        store_or_frame: what the snapshot was made of.
        ranges: half-open ranges of row numbers, ascending.
        on_bad_row: ``quarantine`` sets rows of NDJSON and CSV that cannot be read aside, as ``rejected``, instead of
            raising.
        check: compare each file's size and version before and after it was read.
        strata: told to preprocessors that take it.

    Raises:
        ReadError: a file or row that cannot be read, or a value that the snapshot's schema does not hold exactly.
        SnapshotChanged: a file is not the one that the snapshot was made of.
        ProcessorError: the preprocessor broke its contract.
    """
    if on_bad_row not in ("raise", "quarantine"):
        raise ReadError(f"on_bad_row must be 'raise' or 'quarantine'; got {on_bad_row!r}")
    if batch_size < 1:
        raise ReadError(f"batch_size must be at least 1 row; got {batch_size}")
    made = as_preprocessor(preprocessor)
    run = None if made is None else PreprocessorRun(made, strata)
    source = _Source(snapshot, store_or_frame, on_bad_row, check)
    for start, stop in _joined(ranges):
        yield from _read_range(source, run, start, stop, batch_size)


def _joined(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """``ranges`` with consecutive ones made one."""
    last: tuple[int, int] | None = None
    for start, stop in ranges:
        if last is not None and last[1] == start:
            last = (last[0], stop)
            continue
        if last is not None and last[0] < last[1]:
            yield last
        last = (start, stop)
    if last is not None and last[0] < last[1]:
        yield last


def _read_range(
    source: _Source, run: PreprocessorRun | None, start: int, stop: int, batch_size: int
) -> Iterator[RowBatch]:
    assembler = _Assembler(source.snapshot, start, batch_size)
    # One batch is held back, so that rejected rows at the very end need no batch of their own.
    held: RowBatch | None = None
    for piece_range in locate(source.snapshot, start, stop):
        for piece in source.pieces(piece_range):
            for chunk, rejected in _chunks(source, run, piece_range, piece, max(batch_size, _FIRST_ROWS)):
                assembler.add(chunk, rejected)
                for batch in assembler.full():
                    if held is not None:
                        yield held
                    held = batch
    last = assembler.rest(stop)
    if last is not None and not len(last) and held is not None:
        held = replace(held, span=(held.span[0], stop), rejected=RejectedRows.concat([held.rejected, last.rejected]))
        last = None
    if held is not None:
        yield held
    if last is not None:
        yield last


class _Source:
    """The files or the frame behind a snapshot."""

    def __init__(self, snapshot: Snapshot, store_or_frame: Any, on_bad_row: OnBadRow, check: bool) -> None:
        self.snapshot = snapshot
        self._bad, self._check = on_bad_row, check
        self._table: pa.Table | None = None
        self._store: Any = None
        if not hasattr(store_or_frame, "stat"):  # a frame
            table = store_or_frame if isinstance(store_or_frame, pa.Table) else frame_table(store_or_frame)
            self._table = table
            if check and table.num_rows != snapshot.rows:
                raise SnapshotChanged(
                    f"{snapshot.root} has {table.num_rows} rows; the plan was made of {snapshot.rows}. "
                    "Remedy: make a new plan"
                )
        else:
            self._store = store_or_frame

    def address(self, file: int) -> str:
        path = self.snapshot.path(file)
        return path if self._store is None else self._store.uri(path)

    def pieces(self, where: FileRange) -> Iterator[Piece]:
        """The rows of a part of a file, in the snapshot's schema."""
        rows = 0
        for piece in self._raw(where):
            rows += len(piece.rows) + len(piece.bad)
            if piece.batch.num_rows != len(piece.rows):
                raise ReadError(
                    f"{self.address(where.file)}: expected {len(piece.rows)} rows from row {int(piece.rows[0])} on, "
                    f"found {piece.batch.num_rows}. Remedy: write the file again, or leave it out with match= or paths="
                )
            address = self.address(where.file)
            piece = lasting_piece(piece, self.snapshot.schema.names, address, self._bad == "quarantine")
            if piece.bad and self._bad == "raise":
                raise self._bad_row(where.file, piece.bad[0])
            named = _named(address, piece.rows)
            table = self.snapshot.table
            batch = piece.batch if table is None else table.complete(piece.batch, where.file)
            if names := self.snapshot.options.folder_columns:
                values = folder_values(address, names)
                batch = with_folder_columns(batch, values, self.snapshot.schema, named)
            batch = conform(batch, self.snapshot.schema, named)
            yield replace(piece, batch=batch)
        if rows != where.stop - where.start:
            raise ReadError(
                f"{self.address(where.file)}: rows {where.start} to {where.stop - 1} were planned, but only {rows} of "
                "them are there. Either the file changed since the plan was made, or it says more rows than it holds. "
                "Remedy: make a new plan (run again); where that does not help, write the file again"
            )

    def _raw(self, where: FileRange) -> Iterator[Piece]:
        if self._table is not None:
            at = where.start
            for batch in self._table.slice(at, where.stop - at).to_batches(max_chunksize=MAX_PIECE_ROWS):
                yield Piece.of(batch, at)
                at += batch.num_rows
            return
        address, suffix = self.address(where.file), self.snapshot.suffix
        if self._check:
            check_file(self.snapshot, self._store, where.file)
        try:
            with self._store.open(self.snapshot.path(where.file)) as file:
                read = format_of(suffix, self.snapshot.options).read
                yield from read(file, address, where.start, where.stop, self.snapshot.schema)
        except Exception as exc:
            if self._check:
                check_file(self.snapshot, self._store, where.file)
            if foreign(exc):
                raise read_error(address, suffix, exc) from exc
            raise
        if self._check:
            check_file(self.snapshot, self._store, where.file)

    def _bad_row(self, file: int, bad: BadRow) -> ReadError:
        excerpt = bad.raw if len(bad.raw) <= 80 else bad.raw[:77] + "..."
        return ReadError(
            f"{self.address(file)}: row {bad.row} is not {FORMATS[self.snapshot.suffix].a_row}: {bad.reason}. "
            f"Row: {excerpt!r}. Remedy: mend the row, or read with on_bad_row='quarantine' to set it aside"
        )


def _named(address: str, rows: np.ndarray) -> Callable[[int], str]:
    return lambda row: f"{address}: row {int(rows[row]) if len(rows) else 0}"


def _chunks(
    source: _Source, run: PreprocessorRun | None, where: FileRange, piece: Piece, rows_at_once: int
) -> Iterator[tuple[_Chunk, tuple[np.ndarray, RejectedRows] | None]]:
    """Hash and preprocess a piece; with each chunk its rejected rows and their plan numbers."""
    first = int(source.snapshot.starts[where.file])
    path = source.snapshot.path(where.file)
    bad = np.array([row.row for row in piece.bad], np.int64)
    rejected = None
    if piece.bad:
        texts = RejectedRows.of(path, bad, [row.reason for row in piece.bad], [row.raw for row in piece.bad])
        rejected = (bad + first, texts)
    n = piece.batch.num_rows
    end = first + 1 + max(int(piece.rows[-1]) if n else -1, int(bad[-1]) if len(bad) else -1)
    hashes = row_hash(piece.batch)
    if run is None:
        one = np.ones(n, np.int32)
        yield (
            _Chunk(piece.batch, piece.batch, where.file, piece.rows + first, piece.rows, one - 1, one, hashes, end),
            rejected,
        )
        return
    step = max(n, 1) if run.columnar else rows_at_once
    for start in range(0, max(n, 1), step):
        inputs, rows = piece.batch.slice(start, step), piece.rows[start : start + step]
        observations, origin = run(
            inputs, lambda i, rows=rows: f"{source.address(where.file)}: row {int(rows[i]) if len(rows) else 0}"
        )
        parts = np.bincount(origin, minlength=inputs.num_rows)
        dropped = rows[np.flatnonzero(parts == 0)]
        last = start + step >= n
        mine = _merged(rejected if last else None, first, path, dropped)
        begins = np.cumsum(parts) - parts
        yield (
            _Chunk(
                inputs if np.array_equal(origin, np.arange(inputs.num_rows)) else inputs.take(pa.array(origin)),
                observations, where.file, rows[origin] + first, rows[origin],
                (np.arange(len(origin)) - begins[origin]).astype(np.int32), parts[origin].astype(np.int32),
                hashes[start : start + step][origin], end if last else int(piece.rows[start + step]) + first,
            ),
            mine,
        )  # fmt: skip


def _merged(
    bad: tuple[np.ndarray, RejectedRows] | None, first: int, path: str, dropped: np.ndarray
) -> tuple[np.ndarray, RejectedRows] | None:
    """Unreadable and dropped rows, in the order of the file."""
    if not len(dropped):
        return bad
    texts = RejectedRows.of(path, dropped, ["dropped"] * len(dropped), [None] * len(dropped))
    if bad is None:
        return dropped + first, texts
    both = RejectedRows.concat([bad[1], texts])
    assert both is not None
    numbers = np.concatenate([bad[0], dropped + first])
    order = np.argsort(numbers)
    columns = (column.take(pa.array(order)) for column in (both.file, both.row, both.reason, both.raw))
    return numbers[order], RejectedRows(*columns)


class _Assembler:
    """Cuts chunks into batches whose spans follow one another."""

    def __init__(self, snapshot: Snapshot, start: int, batch_size: int) -> None:
        self._snapshot, self._size = snapshot, batch_size
        self._chunks: list[_Chunk] = []
        self._rows = 0
        self._span_start = self._last_stop = start
        self._numbers = np.zeros(0, np.int64)
        self._rejected: RejectedRows | None = None

    def add(self, chunk: _Chunk, rejected: tuple[np.ndarray, RejectedRows] | None) -> None:
        if rejected is not None:
            self._numbers = np.concatenate([self._numbers, rejected[0]])
            self._rejected = RejectedRows.concat([self._rejected, rejected[1]])
        self._last_stop = chunk.stop
        if len(chunk):
            self._chunks.append(chunk)
            self._rows += len(chunk)

    def full(self) -> Iterator[RowBatch]:
        """Every complete batch."""
        while self._rows >= self._size:
            yield self._take(self._size)
        if len(self._numbers) > _MAX_REJECTED or sum(chunk.nbytes for chunk in self._chunks) > _MAX_BYTES:
            yield self._batch(self._chunks, self._last_stop)
            self._chunks, self._rows = [], 0

    def rest(self, stop: int) -> RowBatch | None:
        """What is left of a range that ends before ``stop``."""
        if self._span_start == stop:
            return None
        return self._batch(self._chunks, stop)

    def _take(self, n: int) -> RowBatch:
        taken, left = [], n
        while True:
            chunk = self._chunks[0]
            if len(chunk) <= left:
                # The next chunk begins with a new input row, so this is always a place to cut.
                taken.append(self._chunks.pop(0))
                left -= len(chunk)
                if left == 0:
                    stop = chunk.stop
                    break
                continue
            cut = _cut(chunk.part, left, must=not taken)
            if cut:
                taken.append(chunk.slice(0, cut))
                self._chunks[0] = chunk.slice(cut, len(chunk))
            if cut == len(chunk):
                self._chunks.pop(0)
            stop = chunk.stop if cut == len(chunk) else int(chunk.number[cut])
            break
        self._rows -= sum(len(chunk) for chunk in taken)
        return self._batch(taken, stop)

    def _batch(self, chunks: list[_Chunk], stop: int) -> RowBatch:
        span, self._span_start = (self._span_start, stop), stop
        rejected = None
        if self._rejected is not None:
            cut = int(np.searchsorted(self._numbers, stop))
            rejected = self._rejected.slice(0, cut) if cut else None
            self._numbers, self._rejected = self._numbers[cut:], self._rejected.slice(cut, len(self._rejected))
        if not chunks:
            empty = pa.RecordBatch.from_pylist([], self._snapshot.schema)
            nothing = np.zeros(0, np.int64)
            return RowBatch(empty, empty, source_array([], *[nothing] * 5), span, rejected)
        same = all(chunk.observations is chunk.inputs for chunk in chunks)
        inputs = _concat([chunk.inputs for chunk in chunks])
        first, last = chunks[0].file, chunks[-1].file
        files = self._snapshot.files["path"].slice(first, last - first + 1).to_pylist()
        source = source_array(
            files,
            np.repeat([chunk.file - first for chunk in chunks], [len(chunk) for chunk in chunks]),
            *(np.concatenate([getattr(c, name) for c in chunks]) for name in ("row", "part", "parts", "hashes")),
        )
        observations = inputs if same else _concat([chunk.observations for chunk in chunks])
        return RowBatch(inputs, observations, source, span, rejected)


def _cut(part: np.ndarray, n: int, *, must: bool) -> int:
    """The last place up to ``n`` where an input row begins; with ``must`` one beyond it rather than none."""
    begins = np.flatnonzero(part[: n + 1] == 0)
    if begins[-1] > 0 or not must:
        return int(begins[-1])
    after = np.flatnonzero(part[n + 1 :] == 0)
    return n + 1 + int(after[0]) if len(after) else len(part)


def _concat(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    schema = batches[-1].schema  # a preprocessor's later batches may know the type of a column that was null before
    return pa.concat_batches([batch if batch.schema.equals(schema) else _retyped(batch, schema) for batch in batches])


def _retyped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return conform(batch, schema, lambda row: f"observation {row}")
