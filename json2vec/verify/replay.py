"""Predicting a sample of rows again from source: catches right predictions on wrong rows, which no count can.

The only part of verification that needs torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from json2vec.address import Address
from json2vec.errors import Json2VecError
from json2vec.processors import Postprocessor, Preprocessor
from json2vec.rank_files.layout import fit_array, stored_type
from json2vec.rank_files.locator import Locator
from json2vec.rank_files.postprocessing import payload_columns
from json2vec.rank_files.rank_writer import row_namer
from json2vec.reading.readers import read_rows
from json2vec.reading.row_batch import SOURCE_TYPE, RowBatch
from json2vec.reading.snapshot import Snapshot
from json2vec.verify.findings import MAX_EXAMPLES, Finding
from json2vec.verify.source import Source
from json2vec.verify.tolerance import TOLERANCE, far

if TYPE_CHECKING:
    from json2vec.model.model import Model

NEAR = 2048
"""Sampled rows of a file that lie so near to each other are read in one go: opening it again would take longer."""
_EXPECTED = "stored predictions equal to those predicted again from the source rows"
_PLAIN_SOURCE = pa.struct([pa.field("file", pa.string()), *list(SOURCE_TYPE)[1:]])


def sample_positions(rows: int, sample: int | None, seed: str) -> np.ndarray:
    """int64, ascending: ``sample`` of 0..rows-1, the same for the same seed; all of them for None."""
    if sample is None or sample >= rows:
        return np.arange(rows, dtype=np.int64)
    entropy = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
    return np.sort(np.random.default_rng(entropy).choice(rows, sample, replace=False)).astype(np.int64)


def scale_of(model: Model, address: str) -> float:
    """How many raw units a head's own unit is, at least 1: rounding happens before a value is brought to raw units."""
    from json2vec.fields.registry import field_type

    leaf = model.schema.leaves.get(Address(address))
    scale = None if leaf is None else field_type(leaf).scale
    return 1.0 if scale is None else max(1.0, scale(leaf, model.nodes[address].embedder))


def _merged(batches: Iterable[RowBatch], size: int) -> Iterator[RowBatch]:
    """Sampled rows lie apart and come one by one; a forward pass takes ``size`` of them at once."""
    waiting: list[RowBatch] = []
    for batch in batches:
        if len(batch):
            waiting.append(batch)
        if sum(map(len, waiting)) >= size:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[RowBatch]) -> RowBatch:
    if len(batches) == 1:
        return batches[0]

    def together(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
        tables = [pa.Table.from_batches([part]) for part in parts]
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks().to_batches()[0]

    return RowBatch(
        inputs=together([batch.inputs for batch in batches]),
        observations=together([batch.observations for batch in batches]),
        source=pa.concat_arrays([batch.source.cast(_PLAIN_SOURCE) for batch in batches]),
        span=(batches[0].span[0], batches[-1].span[1]),
    )


class Replay:
    """Collects the sampled rows while the files stream by, and predicts them again.

    Args:
        positions: int64, ascending: the rows to replay, counted over the files in the manifest's order; from
            `sample_positions`.
        model: the model, in eval mode, on its device.
        snapshot: the input as it was when it was predicted.
        source: where the input rows are now: a store, or the frame.
        reconstruct: addresses of fields that were predicted besides the schema's targets.
        tolerance: how far a prediction may be from itself; see `tolerance_of`.
        preprocessor: the preprocessor that predicted, or None.
        postprocessor: the postprocessor that predicted, or None.
        check: whether the inputs' files must have the versions that the snapshot saw.
        batch_rows: how many rows wait before they are replayed, so that replaying everything takes no more memory than
            a sample.
    """

    def __init__(
        self,
        positions: np.ndarray,
        model: Model,
        snapshot: Snapshot,
        source: Source,
        *,
        reconstruct: Sequence[str] = (),
        tolerance: float = TOLERANCE,
        preprocessor: Preprocessor | None = None,
        postprocessor: Postprocessor | None = None,
        check: bool = True,
        batch_rows: int = 16_384,
    ) -> None:
        self._positions, self._model, self._snapshot, self._source = positions, model, snapshot, source
        self._reconstruct, self._tolerance = list(reconstruct), tolerance
        self._preprocessor, self._postprocessor, self._check = preprocessor, postprocessor, check
        self._locator = Locator(snapshot)
        self._waiting: list[tuple[pa.RecordBatch, np.ndarray]] = []
        self._batch_rows = batch_rows
        self.replayed = self.different = 0
        self._by_address: dict[str, int] = {}
        self._examples: list[str] = []
        self._stopped = ""

    def add(self, batch: pa.RecordBatch, plan_rows: np.ndarray, first: int) -> None:
        """Offer a batch, of which the sampled rows are kept.

        Args:
            batch: N output rows.
            plan_rows: int64 (N,), from `Locator.plan_rows`.
            first: position of the batch's first row, counted over the files in the manifest's order.
        """
        if self._stopped:
            return
        low, high = np.searchsorted(self._positions, [first, first + batch.num_rows])
        index = self._positions[low:high] - first
        index = index[plan_rows[index] >= 0]  # rows that are not in the input are the business of coverage
        if len(index):
            columns = batch.select(["predictions", "source"])
            whole = len(index) == batch.num_rows
            self._waiting.append((columns if whole else columns.take(pa.array(index)), plan_rows[index]))
            if sum(len(rows) for _, rows in self._waiting) >= self._batch_rows:
                self._run()

    def finding(self) -> Finding:
        """The finding ``replay`` over everything that was added."""
        self._run()
        counts = {"replayed": self.replayed, "different": self.different}
        if self._stopped:
            return Finding("replay", False, _EXPECTED, f"could not predict again: {self._stopped}",
                           "restore the inputs, or predict again", counts)  # fmt: skip
        found = f"{self.replayed} rows predicted again, {self.different} differ beyond {self._tolerance:g}"
        if self._by_address:
            found += f" ({', '.join(f'{address}: {n}' for address, n in self._by_address.items())})"
        remedy = "predictions are on the wrong rows or of another model; do not load this folder, predict again"
        return Finding("replay", not self.different, _EXPECTED, found, remedy if self.different else "", counts,
                       tuple(self._examples))  # fmt: skip

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting or self._stopped:
            return
        import torch

        # A sample is a small batch, for which several threads are slower than one; much slower on a busy machine.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for batch, rows in _ordered(waiting):
                self._replay(batch, rows)
        except (Json2VecError, OSError, pa.ArrowException) as exc:
            self._stopped = f"{type(exc).__name__}: {exc}"
        finally:
            torch.set_num_threads(threads)

    def _replay(self, batch: pa.RecordBatch, plan_rows: np.ndarray) -> None:
        """Replay rows in ascending order of their ids."""
        arrow_type = batch.schema.field("predictions").type
        starts = np.unique(plan_rows)
        files = np.searchsorted(np.asarray(self._snapshot.starts), starts, side="right")
        near = NEAR if self._preprocessor is None else 1  # it would run for every row that is read
        cuts = np.flatnonzero((np.diff(starts) > near) | (np.diff(files) != 0)) + 1
        ranges = tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(starts, cuts))
        ids, columns = [], []
        read = read_rows(
            self._snapshot, self._source, ranges, batch_size=self._model.batch_size,
            preprocessor=self._preprocessor, on_bad_row="quarantine", check=self._check,
        )  # fmt: skip
        sampled = (rows.filter(np.isin(self._locator.plan_rows(rows.source), starts)) for rows in read)
        for rows in _merged(sampled, self._model.batch_size):
            ids.append(_keys(self._locator.plan_rows(rows.source), rows.source))
            columns.append(self._predict(rows, arrow_type))
        keys = np.concatenate(ids) if ids else np.zeros(0, np.int64)
        order = np.argsort(keys, kind="stable")
        stored_keys = _keys(plan_rows, batch.column("source"))
        at = np.minimum(np.searchsorted(keys[order], stored_keys), max(len(keys) - 1, 0))
        there = keys[order][at] == stored_keys if len(keys) else np.zeros(len(stored_keys), bool)
        self.replayed += len(stored_keys)
        differs = ~there
        stored = batch.column("predictions")
        if there.any():
            again = pa.concat_arrays(columns).take(pa.array(order[at[there]]))
            kept = stored.take(pa.array(np.flatnonzero(there)))
            for index, address in enumerate(arrow_type):
                tolerance = self._tolerance * scale_of(self._model, address.name)
                unequal = far(kept.field(index), again.field(index), tolerance)
                if unequal.any():
                    self._by_address[address.name] = self._by_address.get(address.name, 0) + int(unequal.sum())
                    differs[np.flatnonzero(there)[unequal]] = True
        self.different += int(differs.sum())
        for row in np.flatnonzero(differs)[: MAX_EXAMPLES - len(self._examples)]:
            why = "" if there[row] else " (the source gives no such row any more)"
            self._examples.append(self._locator.name(int(plan_rows[row])) + why)

    def _predict(self, rows: RowBatch, arrow_type: pa.StructType) -> pa.StructArray:
        return predict_columns(self._model, rows, arrow_type, self._reconstruct, self._postprocessor)


def predict_columns(
    model: Model,
    rows: RowBatch,
    arrow_type: pa.StructType,
    reconstruct: Sequence[str] = (),
    postprocessor: Postprocessor | None = None,
) -> pa.StructArray:
    """The ``predictions`` column, of type ``arrow_type``, that the writer makes of N rows."""
    from json2vec.rank_files.postprocessing import postprocessed

    batch = model.encode(rows)
    predictions = model.infer(batch.to(model.device), reconstruct).cpu()
    if postprocessor is None:
        columns = predictions.columns()
        if stored_type(columns.type) != arrow_type:
            raise Json2VecError(
                f"the model predicts {columns.type}, the files hold {arrow_type}. Remedy: pass another model"
            )
        return fit_array(columns, arrow_type, "predictions", row_namer(rows.source))
    result = postprocessed(postprocessor, predictions, batch, rows)
    return payload_columns(result, len(rows), arrow_type, row_namer(rows.source))


def _ordered(waiting: list[tuple[pa.RecordBatch, np.ndarray]]) -> list[tuple[pa.RecordBatch, np.ndarray]]:
    """All waiting rows as one batch, in ascending order of their ids."""
    rows = np.concatenate([rows for _, rows in waiting])
    batch = pa.concat_batches([batch for batch, _ in waiting])
    order = np.argsort(rows, kind="stable")
    return [(batch.take(pa.array(order)), rows[order])]


def _keys(plan_rows: np.ndarray, source: pa.StructArray) -> np.ndarray:
    """One number for (row, part); 2**20 parts a row."""
    return plan_rows * (1 << 20) + source.field("part").to_numpy(zero_copy_only=False)
