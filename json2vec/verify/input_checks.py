"""Do the rows beside the predictions equal the source rows that they name? Every row is read again and compared."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from json2vec.errors import Json2VecError, ReadError, SnapshotChanged
from json2vec.rank_files.layout import stored_type
from json2vec.rank_files.locator import Locator
from json2vec.reading.exact import cast
from json2vec.reading.readers import read_rows
from json2vec.reading.row_batch import RowBatch
from json2vec.reading.row_hash import row_hash
from json2vec.reading.snapshot import Snapshot
from json2vec.verify.findings import MAX_EXAMPLES, Finding
from json2vec.verify.source import Source

_BATCH_ROWS = 65_536
_NEAR = 4 * _BATCH_ROWS
"""Rows that are read and thrown away rather than opening the file again further on."""
_STREAMS = 8


class _Stream:
    """The input's rows from a given row on, a batch at a time.

    Args:
        batches: the batches, from `read_rows`.
        row: the plan row number where they begin.
    """

    def __init__(self, batches: Iterator[RowBatch], row: int) -> None:
        self.batches, self.next = batches, row
        self.chunk: RowBatch | None = None
        self.rows = np.zeros(0, np.int64)  # plan row numbers of `chunk`, ascending

    def serves(self, row: int) -> bool:
        """Whether ``row`` is in hand or not far ahead."""
        return (self.next if self.chunk is None else self.chunk.span[0]) <= row < self.next + _NEAR


class SourceRows:
    """The input's rows by plan row number, read in streams that go on as long as they are asked in order.

    Several streams, because a rank with several workers writes the batches of their shares in turn.

    Args:
        snapshot: the input as it was when it was predicted.
        source: where the rows are: a store, or the frame.
        check: whether the files must have the sizes and versions that the snapshot saw.
    """

    def __init__(self, snapshot: Snapshot, source: Source, *, check: bool) -> None:
        self._snapshot, self._source, self._check = snapshot, source, check
        self._locator = Locator(snapshot)
        self._streams: list[_Stream] = []  # the last used last

    def chunks(self, plan_rows: np.ndarray) -> Iterator[tuple[slice, RowBatch, np.ndarray]]:
        """Split rows along the source's batches.

        Args:
            plan_rows: int64 (N,), ascending plan row numbers.

        Yields:
            a slice of ``plan_rows``, a source batch, and for each row of the slice its index in the batch, -1 where the
            source cannot read that row.

        Raises:
            SnapshotChanged: a file of the source is not what it was.
            ReadError: the source ends too early, or cannot be read.
        """
        done = 0
        while done < len(plan_rows):
            stream = self._reach(int(plan_rows[done]))
            assert stream.chunk is not None
            stop = done + int(np.searchsorted(plan_rows[done:], stream.next))
            if len(stream.rows) and stream.next - stream.rows[0] == len(stream.rows):
                # The batch holds every row from its first to its last: nothing to search for.
                index = np.maximum(plan_rows[done:stop] - stream.rows[0], -1)
            elif len(stream.rows):
                index = np.minimum(np.searchsorted(stream.rows, plan_rows[done:stop]), len(stream.rows) - 1)
                index = np.where(stream.rows[index] == plan_rows[done:stop], index, -1)
            else:
                index = np.full(stop - done, -1)
            yield slice(done, stop), stream.chunk, index
            done = stop

    def _reach(self, row: int) -> _Stream:
        """A stream whose batch in hand accounts for ``row``."""
        near = [stream for stream in self._streams if stream.serves(row)]
        if near:
            stream = max(near, key=lambda stream: stream.next)
            self._streams.remove(stream)
        else:
            ranges = ((row, self._snapshot.rows),)
            batches = read_rows(self._snapshot, self._source, ranges, batch_size=_BATCH_ROWS, on_bad_row="quarantine",
                                check=self._check)  # fmt: skip
            stream = _Stream(batches, row)
        self._streams = [*self._streams, stream][-_STREAMS:]
        while row >= stream.next:
            chunk = next(stream.batches, None)
            if chunk is None:  # the reader promises all rows of the range or an error
                raise ReadError(f"the source ended before {self._locator.name(row)}")
            stream.chunk, stream.next = chunk, chunk.span[1]
            stream.rows = self._locator.plan_rows(chunk.source)
        return stream


class InputCheck:
    """Collects rows that differ from their source.

    Args:
        rows: the input's rows, to compare with.
        locator: turns plan row numbers into names for messages.
        kept: type of the ``inputs`` column; None where the writer kept none.
    """

    def __init__(self, rows: SourceRows, locator: Locator, kept: pa.StructType | None) -> None:
        self._rows, self._locator, self._kept = rows, locator, kept
        self._columns = list(kept) if kept is not None else []
        names, source_names = [column.name for column in self._columns], locator.snapshot.schema.names
        self._missing = [name for name in source_names if name not in set(names)]
        self._unknown = [name for name in names if name not in source_names]
        self.compared = self.different = self.wrong_hash = self.unreadable = 0
        self._by_column: dict[str, int] = {}
        self._examples: list[str] = []
        self._stopped = ""

    def add(self, batch: pa.RecordBatch, plan_rows: np.ndarray, where: str) -> None:
        """Compare a batch of a rank file. Rows that the input does not have are the business of ``coverage``.

        Args:
            batch: N output rows.
            plan_rows: int64 (N,), from `Locator.plan_rows`.
            where: the file that the rows are in, for messages.
        """
        if self._stopped or self._unknown:
            return
        if not (plan_rows >= 0).all():
            keep = np.flatnonzero(plan_rows >= 0)
            batch, plan_rows = batch.take(pa.array(keep)), plan_rows[keep]
        if len(plan_rows) and (np.diff(plan_rows) < 0).any():
            order = np.argsort(plan_rows, kind="stable")
            batch, plan_rows = batch.take(pa.array(order)), plan_rows[order]
        try:
            for part, chunk, index in self._rows.chunks(plan_rows):
                self._compare(batch.slice(part.start, part.stop - part.start), plan_rows[part], chunk, index, where)
        except (Json2VecError, OSError, pa.ArrowException) as exc:
            problem = "changed" if isinstance(exc, SnapshotChanged) else "cannot be read"
            self._stopped = f"the source {problem}: {exc}"

    def _compare(
        self, batch: pa.RecordBatch, plan_rows: np.ndarray, chunk: RowBatch, index: np.ndarray, where: str
    ) -> None:
        if (index < 0).any():
            lost = np.flatnonzero(index < 0)
            self.unreadable += len(lost)
            self._example(int(plan_rows[lost[0]]), where, "cannot be read from the source")
            keep = np.flatnonzero(index >= 0)
            batch, plan_rows, index = batch.take(pa.array(keep)), plan_rows[keep], index[keep]
        if not len(index):
            return
        self.compared += len(index)
        whole = index[-1] - index[0] + 1 == len(index) and (np.diff(index) == 1).all()
        ids = pa.array(index)

        def select(array: pa.Array) -> pa.Array:
            return array.slice(int(index[0]), len(index)) if whole else array.take(ids)

        expected = select(chunk.source.field("hash")).to_numpy(zero_copy_only=False)
        stored = batch.column("source").field("hash").to_numpy(zero_copy_only=False)
        bad = np.flatnonzero(expected != stored)
        if len(bad):
            self.wrong_hash += len(bad)
            self._example(int(plan_rows[bad[0]]), where, "carries the hash of another row")
        if self._kept is None:
            return
        inputs, differs = batch.column("inputs"), np.zeros(len(index), bool)
        if inputs.null_count:
            differs |= inputs.is_null().to_numpy(zero_copy_only=False)
        for position, column in enumerate(self._columns):
            unequal = unequal_rows(inputs.field(position), select(chunk.inputs.column(column.name)))
            if unequal is not None and unequal.any():
                row = int(np.flatnonzero(unequal)[0])
                self._by_column[column.name] = self._by_column.get(column.name, 0) + int(unequal.sum())
                self._example(int(plan_rows[row]), where, f"differs in column {column.name!r}")
                differs |= unequal
        self.different += int(differs.sum())

    def _example(self, row: int, where: str, why: str) -> None:
        if len(self._examples) < MAX_EXAMPLES:
            self._examples.append(f"{self._locator.name(row)} in {where} {why}")

    def finding(self) -> Finding:
        """The finding ``inputs`` over everything that was added."""
        counts = {"compared": self.compared, "different": self.different, "wrong_hash": self.wrong_hash,
                  "unreadable": self.unreadable}  # fmt: skip
        expected = "the inputs of every row equal to the source row that it names, column by column"
        if self._stopped or self._unknown:
            found = self._stopped or f"columns {self._unknown} that the source does not have"
            return Finding("inputs", False, expected, found, "restore the inputs, or predict again",
                           counts, tuple(self._examples))  # fmt: skip
        failed = self.different or self.wrong_hash or self.unreadable
        found = f"{self.compared} rows compared; {self.different} differ"
        if self._by_column:
            found += f" ({', '.join(f'{name}: {n}' for name, n in self._by_column.items())})"
        found += f", {self.wrong_hash} carry a wrong hash, {self.unreadable} are not readable"
        if failed:
            return Finding("inputs", False, expected, found, "do not load this folder; predict again", counts,
                           tuple(self._examples))  # fmt: skip
        if self._missing:  # an input without any column is kept whole where nothing is kept
            names = [column.name for column in self._columns]
            kept = "no inputs" if self._kept is None else f"only the columns {names}"
            return Finding(
                "inputs", None, expected,
                f"the writer kept {kept}; {self.compared} row hashes agree with the source, the columns "
                f"{self._missing} cannot be compared",
                "predict with Writer(inputs=True), or leave `inputs` out of require=", counts,
            )  # fmt: skip
        return Finding("inputs", True, expected, found, "", counts)


def unequal_rows(stored: pa.Array, source: pa.Array) -> np.ndarray | None:
    """bool (N,): rows whose values differ, NaN equal to NaN; None where all are equal."""
    if source.type != stored.type:
        if stored_type(source.type) != stored_type(stored.type):
            return np.ones(len(stored), bool)
        try:
            source = cast(source, stored.type)
        except pa.ArrowException:
            return _hashes(stored) != _hashes(source)
    if stored.equals(source):
        return None
    # NaN differs from NaN above. The hash knows better, and says which rows differ.
    return _hashes(stored) != _hashes(source)


def _hashes(array: pa.Array) -> np.ndarray:
    return row_hash(pa.RecordBatch.from_arrays([array], ["value"]))
