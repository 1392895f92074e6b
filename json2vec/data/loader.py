"""Planned rows to encoded batches, with reading and encoding one step ahead of the device."""

from __future__ import annotations

import contextlib
import functools
import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from torch.utils.data import IterableDataset, get_worker_info

from json2vec.batch import Batch
from json2vec.data.encode_groups import encode_together
from json2vec.data.encoder import Encoder
from json2vec.data.quarantine import encode_or_reject
from json2vec.data.reuse_rows import StoredPredictions, chunk_rows, reuse_rows
from json2vec.enums import Strata
from json2vec.errors import Json2VecError
from json2vec.processors import Preprocessor, as_preprocessor
from json2vec.profile.missing import ColumnCheck
from json2vec.reading.plan import Plan, Ranges, part
from json2vec.reading.preprocessing import PreprocessorRun
from json2vec.reading.readers import OnBadRow, read_rows
from json2vec.reading.row_batch import RowBatch
from json2vec.reading.source import Source

T = TypeVar("T")
_POLL_S = 0.05  # how soon the thread notices that nobody listens any more


def prefetch(make: Callable[[], Iterable[T]], depth: int = 2) -> Iterator[T]:
    """The items of ``make()``, produced by a thread that is at most ``depth`` items ahead.

    What ``make()`` raises is raised here, after the items before it. When the consumer stops early (or is
    collected), the thread stops after the item it is working on, and its iterator is closed.
    """
    items: queue.Queue[tuple[Any, BaseException | None, bool]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any, error: BaseException | None, last: bool) -> bool:
        while not stopped.is_set():
            try:
                items.put((item, error, last), timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        iterator: Any = None
        try:
            iterator = iter(make())
            for item in iterator:
                if not put(item, None, False):
                    return
            put(None, None, True)
        except BaseException as exc:  # handed over, whatever it is: a swallowed one would end the rows early
            put(None, exc, True)
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    thread = threading.Thread(target=produce, name="json2vec-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = items.get()
            if error is not None:
                raise error
            if last:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


def _each(groups: Iterator[list[Batch]]) -> Iterator[Batch]:
    with contextlib.closing(groups):  # type: ignore[type-var]
        for group in groups:
            yield from group


def checked(batches: Iterator[RowBatch], check: ColumnCheck) -> Iterator[RowBatch]:
    """The same batches; the observations of the first that has rows are checked for missing columns."""
    looked = False
    for batch in batches:
        if not looked and len(batch):
            check(batch.observations.schema)
            looked = True
        yield batch


class PlannedDataset(IterableDataset):
    """One rank's share of a plan, read in order and encoded; yields `Batch`es whose ``rows`` hold their spans.

    With `torch.utils.data.DataLoader` workers every worker takes a part of the share, so that all ranks and
    workers together give every planned row exactly once.

    Args:
        plan: which rank reads which rows.
        store_or_frame: what the plan's snapshot was made of: the store of the files, or the table.
        model: what encodes the rows, with ``encode(rows, strata=...)`` and ``batch_size``.
        rank: the rank of this process.
        preprocessor: what makes observations of rows; see `json2vec.processors`.
        strata: the use of the rows, which preprocessor and model are told.
        batch_size: rows of a batch; None takes ``model.batch_size`` each time iteration begins.
        on_bad_row: ``raise`` or ``quarantine``; see `json2vec.reading.readers.read_rows`. With ``quarantine`` rows that
            the model cannot encode are set aside as well, in prediction; in training they are an error.
        check: whether to compare each file with the snapshot; see `json2vec.reading.readers.read_rows`.
        padded: give all workers of all ranks the same number of rows by reading one row again where a share is one
            short, so that ranks which wait for each other at every step (validation under DDP) stay together.
        depth: how many groups of batches (`json2vec.data.encode_groups`) are encoded ahead; 0 encodes in the consumer's
            thread.
        stored: predictions of an earlier attempt; only rows that it does not know are preprocessed and encoded, and the
            ``rows`` of a batch then account for up to 65,536 input rows (`json2vec.data.reuse_rows`).
        check_columns: called once with the schema of the first observations; raises where a column is missing.

    Raises:
        Json2VecError: ``rank`` is not in the plan.
    """

    def __init__(
        self,
        plan: Plan,
        store_or_frame: Source,
        model: Encoder,
        *,
        rank: int = 0,
        preprocessor: Preprocessor | None = None,
        strata: Strata | str = Strata.predict,
        batch_size: int | None = None,
        on_bad_row: OnBadRow = "raise",
        check: bool = True,
        padded: bool = False,
        depth: int = 2,
        stored: StoredPredictions | None = None,
        check_columns: ColumnCheck | None = None,
    ) -> None:
        super().__init__()
        plan.share(rank)
        self.plan, self.rank, self.model = plan, rank, model
        self.strata, self.batch_size, self.padded = Strata(strata), batch_size, padded
        self._source, self._preprocessor = store_or_frame, as_preprocessor(preprocessor)
        self._on_bad_row: OnBadRow = on_bad_row
        self._check, self._depth = check, depth
        self.stored, self._check_columns = stored, check_columns

    def ranges(self) -> Ranges:
        """The row-number ranges that this process (rank and worker) reads."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        share = self.plan.share(self.rank, worker, workers)
        if not self.padded or self.plan.world_size == 1 or not self.plan.rows:
            return share
        if self.plan.intervals != ((0, self.plan.snapshot.rows),):
            raise Json2VecError(f"padded shares need a plan of all rows; this one has {self.plan.intervals}")
        begin, end = part(0, self.plan.rows, self.rank, self.plan.world_size)
        start, stop = part(begin, end, worker, workers)
        longest = math.ceil(math.ceil(self.plan.rows / self.plan.world_size) / workers)
        if stop - start < longest:  # never the first share, so that there is a row before it
            start = max(0, stop - longest)
            stop = start + longest
        return ((start, stop),)

    def __iter__(self) -> Iterator[Batch]:
        size = self.batch_size or self.model.batch_size
        ranges = self.ranges()

        encoded = self._encoded if self.stored is None else self._incremental
        groups = prefetch(lambda: encoded(size, ranges), self._depth) if self._depth else encoded(size, ranges)
        return _each(groups)

    def _encoded(self, size: int, ranges: Ranges) -> Iterator[list[Batch]]:
        rows = self._rows(size, ranges, self._preprocessor)
        if self.strata is not Strata.predict:  # training learns labels batch by batch
            return ([self._encode(batch)] for batch in rows)
        return encode_together(rows, functools.partial(self.model.encode, strata=self.strata), self._encode)

    def _incremental(self, size: int, ranges: Ranges) -> Iterator[list[Batch]]:
        assert self.stored is not None
        preprocessor = self._preprocessor
        run = preprocessor and PreprocessorRun(preprocessor, self.strata)
        batches = reuse_rows(
            self._rows(chunk_rows(self.plan.snapshot, size), ranges, None), self.stored, self._encode,
            snapshot=self.plan.snapshot, batch_size=size, run=run,
            infer_schema=preprocessor is not None and preprocessor.schema is None,
            address=getattr(self._source, "uri", str),
        )  # fmt: skip
        return ([batch] for batch in batches)

    def _rows(self, size: int, ranges: Ranges, preprocessor: Preprocessor | None) -> Iterator[RowBatch]:
        rows = read_rows(
            self.plan.snapshot, self._source, ranges, batch_size=size, preprocessor=preprocessor,
            on_bad_row=self._on_bad_row, check=self._check, strata=self.strata,
        )  # fmt: skip
        return rows if self._check_columns is None or preprocessor is None else checked(rows, self._check_columns)

    def _encode(self, rows: RowBatch) -> Batch:
        if self._on_bad_row == "quarantine" and self.strata is Strata.predict:
            return encode_or_reject(self.model, rows, strata=self.strata)
        return self.model.encode(rows, strata=self.strata)
