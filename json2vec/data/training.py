"""Training rows: shuffled by a seed, the same number of batches on every rank."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from json2vec.batch import Batch
from json2vec.data.encoder import Encoder
from json2vec.data.loader import checked, prefetch
from json2vec.enums import ShardingStrategy, Strata
from json2vec.errors import ProcessorError
from json2vec.processors import Preprocessor, as_preprocessor
from json2vec.profile.missing import ColumnCheck
from json2vec.reading.readers import read_rows
from json2vec.reading.row_batch import RowBatch
from json2vec.reading.snapshot import Snapshot
from json2vec.reading.source import Source

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


class TrainingDataset(IterableDataset):
    """A rank's rows of one epoch after the other, encoded with ``strata="train"``.

    The rows are cut into units (files or chunks), the units are put in an order that seed and epoch decide, and the
    resulting sequence is cut into equal parts for the workers of all ranks. So an epoch is every row once, but for
    ``replacement``, ``sample_rate`` and, with several ranks, the few rows read twice so that all have equally many.

    With several ranks each yields the same number of batches, whatever a preprocessor drops or adds: a rank that runs
    out of rows begins its part again, and one that has more stops.

    Args:
        snapshot: the frozen list of the training files.
        store_or_frame: what the snapshot was made of: the store of the files, or the table.
        model: what encodes the rows, with ``encode`` and ``batch_size``.
        rank: the rank of this process.
        world_size: the number of ranks.
        preprocessor: what makes observations of rows; see `json2vec.processors`.
        sharding: the unit: ``file``, ``chunk`` (chunk_batch_size consecutive rows of a file), or ``record``, a
            chunk whose rows are shuffled too. Chunks are read out of order: with Parquet row groups much larger than a
            chunk that costs, as a row group is decoded up to the rows that are asked for.
        chunk_batch_size: rows of a chunk.
        observation_buffer_size: rows among which the next batch is drawn at random; 1 keeps their order.
        file_buffer_size: units read alternately, a batch from each.
        sample_rate: the part of its rows, 0 < r <= 1, that a worker draws for an epoch.
        replacement: draw the units with replacement; an epoch still has as many rows as there are.
        seed: the seed of every random choice above.
        check_columns: called once a piece with the schema of its first observations; raises where a column is missing.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        store_or_frame: Source,
        model: Encoder,
        *,
        rank: int = 0,
        world_size: int = 1,
        preprocessor: Preprocessor | None = None,
        sharding: ShardingStrategy | str = ShardingStrategy.chunk,
        chunk_batch_size: int = 4096,
        observation_buffer_size: int = 1,
        file_buffer_size: int = 1,
        sample_rate: float = 1.0,
        replacement: bool = False,
        seed: int = 0,
        check_columns: ColumnCheck | None = None,
    ) -> None:
        super().__init__()
        self.snapshot, self.model, self.rank, self.world_size = snapshot, model, rank, world_size
        self._source, self._preprocessor = store_or_frame, as_preprocessor(preprocessor)
        self.sharding, self.chunk_batch_size = ShardingStrategy(sharding), chunk_batch_size
        self.observation_buffer_size, self.file_buffer_size = observation_buffer_size, file_buffer_size
        self.sample_rate, self.replacement, self.seed = sample_rate, replacement, seed
        self._check_columns = check_columns
        # In shared memory, so that workers which live for many epochs see it move.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The number of the epoch that the next iteration yields, from 0."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self._epoch.fill_(epoch)

    def ranges(self, rank: int, worker: int, workers: int) -> list[tuple[int, int]]:
        """Row-number ranges of one worker in this epoch, in reading order; after shuffling, before sampling."""
        bounds = self._bounds()
        lengths = np.diff(bounds)
        total = int(lengths.sum())
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.replacement:
            order = rng.integers(0, len(lengths), 2 * len(lengths) + 1)
            while int(lengths[order].sum()) < total:
                order = np.concatenate([order, rng.integers(0, len(lengths), len(lengths))])
        else:
            order = rng.permutation(len(lengths))
        ends = np.cumsum(lengths[order])
        consumers = self.world_size * workers
        each = -(-total // consumers)
        # Parts beyond the end begin again at row 0 of the sequence; with one rank nothing needs to be even.
        begin = (rank * workers + worker) * each
        end = begin + each if self.world_size > 1 else min(begin + each, total)
        ranges = []
        while begin < end:
            at = begin % total
            unit = int(np.searchsorted(ends, at, side="right"))
            rows = min(end - begin, int(ends[unit]) - at, total - at)
            start = int(bounds[order[unit] + 1]) - (int(ends[unit]) - at)
            ranges.append((start, start + rows))
            begin += rows
        return ranges

    def _bounds(self) -> np.ndarray:
        """int64 (units + 1,): row numbers where units begin; no unit is empty."""
        starts = np.unique(self.snapshot.starts)
        if self.sharding is ShardingStrategy.file:
            return starts
        size = self.chunk_batch_size
        counts = -(-np.diff(starts) // size)
        first = np.repeat(starts[:-1], counts)
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.append(first + within * size, starts[-1])

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        if not self.snapshot.rows:
            return iter(())
        return prefetch(lambda: self._batches(worker, workers))

    def _batches(self, worker: int, workers: int) -> Iterator[Batch]:
        size = self.model.batch_size
        ranges = self.ranges(self.rank, worker, workers)
        rng = np.random.default_rng([self.seed, self.epoch, self.rank, worker])
        rows = sum(stop - start for start, stop in ranges)
        quota = max(1, round(rows * self.sample_rate)) if rows else 0
        keep = np.sort(rng.permutation(rows)[:quota]) if quota < rows else None
        batches = self._shuffled(ranges, size, keep, rng)
        batches_due = None if self.world_size == 1 else math.ceil(quota / size)
        yielded = 0
        while batches_due is None or yielded < batches_due:
            before = yielded
            for batch in batches:
                yield self.model.encode(batch, strata=Strata.train)
                yielded += 1
                if yielded == batches_due:
                    return
            if batches_due is None:
                return
            if yielded == before:  # to stop here would let the other ranks wait for ever
                raise ProcessorError(
                    f"rank {self.rank}, worker {worker}: the {rows} rows of its part gave no observation in epoch "
                    f"{self.epoch}. Remedy: drop fewer rows, or train with fewer ranks or workers"
                )
            batches = self._shuffled(ranges, size, keep, rng)

    def _shuffled(
        self, ranges: list[tuple[int, int]], size: int, keep: np.ndarray | None, rng: np.random.Generator
    ) -> Iterator[RowBatch]:
        """Batches of ``size`` rows, the last one shorter, drawn from a pool of ``observation_buffer_size`` rows."""
        buffer = self.observation_buffer_size if self.observation_buffer_size > 1 else 0
        pool: RowBatch | None = None
        for rows in self._interleaved(ranges, keep, rng):
            if not len(rows):
                continue
            pool = rows if pool is None else _joined(pool, rows)
            if buffer:  # the rows left over move among the new ones
                pool = _take(pool, rng.permutation(len(pool)))
            while len(pool) >= size + buffer:
                yield _slice(pool, 0, size)
                pool = _slice(pool, size, len(pool))
        for start in range(0, 0 if pool is None else len(pool), size):
            assert pool is not None
            yield _slice(pool, start, min(start + size, len(pool)))

    def _interleaved(
        self, ranges: list[tuple[int, int]], keep: np.ndarray | None, rng: np.random.Generator
    ) -> Iterator[RowBatch]:
        waiting = iter(self._sampled(ranges, keep))
        reading: list[Iterator[RowBatch]] = []
        while True:
            while len(reading) < self.file_buffer_size and (pieces := next(waiting, None)) is not None:
                reading.append(self._read(pieces))
            if not reading:
                return
            for batches in list(reading):
                rows = next(batches, None)
                if rows is None:
                    reading.remove(batches)
                    continue
                yield _take(rows, rng.permutation(len(rows))) if self.sharding is ShardingStrategy.record else rows

    @staticmethod
    def _sampled(
        ranges: list[tuple[int, int]], keep: np.ndarray | None
    ) -> Iterator[tuple[tuple[int, int], np.ndarray | None]]:
        """Every range with the rows of it to keep, counted within the range; None keeps all."""
        before = 0
        for start, stop in ranges:
            after = before + stop - start
            if keep is None:
                yield (start, stop), None
            else:
                kept = keep[np.searchsorted(keep, before) : np.searchsorted(keep, after)] - before
                if len(kept):
                    yield (start, stop), kept
            before = after

    def _read(self, pieces: tuple[tuple[int, int], np.ndarray | None]) -> Iterator[RowBatch]:
        (start, stop), keep = pieces
        batches = read_rows(
            self.snapshot, self._source, [(start, stop)], batch_size=self.chunk_batch_size,
            preprocessor=self._preprocessor, check=False, strata=Strata.train,
        )  # fmt: skip
        for rows in batches if self._check_columns is None else checked(batches, self._check_columns):
            if keep is None:
                yield rows
                continue
            yield _take(rows, np.flatnonzero(np.isin(self._numbers(rows) - start, keep)))

    def _numbers(self, rows: RowBatch) -> np.ndarray:
        """int64 (N,): the plan's row number of each row's source."""
        file: Any = rows.source.field("file")
        firsts = [
            int(self.snapshot.starts[pc.index(self.snapshot.files["path"], path).as_py()]) for path in file.dictionary
        ]
        return np.array(firsts, np.int64)[file.indices.to_numpy()] + rows.source.field("row").to_numpy()


def _take(rows: RowBatch, indices: np.ndarray) -> RowBatch:
    at = pa.array(indices, pa.int64())
    inputs = rows.inputs.take(at)
    observations = inputs if rows.observations is rows.inputs else rows.observations.take(at)
    return replace(rows, inputs=inputs, observations=observations, source=rows.source.take(at))


def _joined(first: RowBatch, second: RowBatch) -> RowBatch:
    if not len(first):
        return second
    same = first.observations is first.inputs and second.observations is second.inputs
    inputs = pa.concat_batches([first.inputs, second.inputs])
    observations = inputs if same else _concat_unified(first.observations, second.observations)
    source: Any = pa.concat_arrays([first.source, second.source])
    return replace(second, inputs=inputs, observations=observations, source=source)


def _concat_unified(first: pa.RecordBatch, second: pa.RecordBatch) -> pa.RecordBatch:
    from json2vec.reading.conform import conform
    from json2vec.reading.plain import plain_schema
    from json2vec.reading.unite import unite_schemas

    same = first.schema.equals(second.schema)
    schema = first.schema if same else unite_schemas(plain_schema(first.schema), plain_schema(second.schema))
    return pa.concat_batches([conform(b, schema, lambda row: f"observation {row}") for b in (first, second)])


def _slice(rows: RowBatch, start: int, stop: int) -> RowBatch:
    n = max(0, stop - start)
    inputs = rows.inputs.slice(start, n)
    same = rows.observations is rows.inputs
    observations = inputs if same else rows.observations.slice(start, n)
    return replace(rows, inputs=inputs, observations=observations, source=rows.source.slice(start, n))


class EpochLoader(DataLoader):
    """A loader that moves its `TrainingDataset` one epoch on each time iteration begins."""

    _begun = False

    def __iter__(self) -> Any:
        dataset: Any = self.dataset
        if self._begun:
            dataset.set_epoch(dataset.epoch + 1)
        self._begun = True
        return super().__iter__()
