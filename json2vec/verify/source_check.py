"""Are the rows those that another reader sees? Every other finding believes our own reader; this one does not.

Where our reader lost the last rows of a file, shifted them or cut a value, the inputs beside the predictions agree with
what the same reader gives again. So the rows of the input files are counted by a second reader, which shares no
code with ours, and a sample of them is compared with what was predicted from.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from json2vec.errors import Json2VecError
from json2vec.rank_files.locator import Locator
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import Snapshot
from json2vec.storage.store import Store
from json2vec.verify.findings import MAX_EXAMPLES, Finding
from json2vec.verify.same_value import Moment, plain_value, same
from json2vec.verify.second_readers import SECOND_READERS
from json2vec.verify.second_readers.nearby import FETCH_BYTES, Nearby, NotCompared
from json2vec.verify.second_readers.reader import Options, Rows

EXPECTED = "rows and values equal to those that a second reader sees in the input files"
NEAR = 2048
"""Sampled rows of a file that lie so near to each other are read by our reader in one go."""
REMOTE_FILES = 256
"""Files of an object store whose rows are counted again, drawn as the sample is; each costs requests."""
_WAITING_ROWS = 65_536


def clustered_positions(rows: int, sample: int | None, places: int, seed: str) -> np.ndarray:
    """int64, ascending: ``sample`` of 0..rows-1 in ``places`` runs, the same for the same seed; all of them for None.

    A run may meet another: then it goes on behind it, so that there are always ``sample`` different ones.
    """
    if sample is None or sample >= rows:
        return np.arange(rows, dtype=np.int64)
    generator = _generator(seed)
    lengths = np.bincount(np.arange(sample) % min(places, sample)) if sample else np.zeros(0, np.int64)
    # Where runs begin: among the rows that would be left, so that all of them fit behind one another.
    starts = np.sort(generator.integers(0, rows - sample + 1, len(lengths)))
    begins = starts + np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if sample else starts
    return np.concatenate([np.arange(a, a + n) for a, n in zip(begins, lengths, strict=True)] or [begins])


def _generator(seed: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"source {seed}".encode()).digest()[:8], "little"))


def unread_source(no_inputs: str) -> Finding:
    """The finding ``source`` where there are no input files.

    Args:
        no_inputs: why there are no input rows at all; empty where they are a frame.
    """
    why = no_inputs or "the input is a frame; there is no file that a second reader could read"
    return Finding("source", None, EXPECTED, f"not compared: {why}", "leave `source` out of require=")


class SourceCheck:
    """Collects the sampled rows while the files stream by, and compares them with the second reader's.

    Args:
        rows: output rows of the folder.
        sample: how many of them to compare; None compares all.
        seed: the attempt's id, which draws the sample.
        snapshot: the input as it was when it was predicted.
        source: the store that the input files are in.
        check: whether the inputs' files must have the versions that the snapshot saw.
    """

    def __init__(
        self, rows: int, sample: int | None, seed: str, snapshot: Snapshot, source: Store, *, check: bool
    ) -> None:
        self._snapshot, self._source, self._check, self._seed = snapshot, source, check, seed
        self._reader = SECOND_READERS[snapshot.suffix]
        self._positions = clustered_positions(rows, sample, self._reader.places, seed)
        self._locator = Locator(snapshot)
        self._waiting: list[tuple[pa.RecordBatch, np.ndarray, str]] = []
        self.counted = self.wrong_counts = self.compared = self.different = self.undecided = 0
        self._files: set[int] = set()
        self._counts: dict[int, int] = {}  # of files whose rows were counted while they were compared
        self._why_not: dict[str, str] = {}  # what was not compared: why
        self._examples: list[str] = []
        self._rows, self._left = rows, FETCH_BYTES
        self._options = Options(**snapshot.options.csv.model_dump())
        # Columns that stand in the name of the folder or in the log of a table, not in the file.
        self._beside = set(snapshot.options.folder_columns)
        self._beside |= set() if snapshot.table is None else set(snapshot.table.columns.column_names)

    def add(self, batch: pa.RecordBatch, plan_rows: np.ndarray, first: int, where: str) -> None:
        """Offer a batch of a rank file, of which the sampled rows are kept.

        Args:
            batch: N output rows.
            plan_rows: int64 (N,), from `Locator.plan_rows`.
            first: position of the batch's first row, counted over the files in the manifest's order.
            where: the file that the rows are in, for messages.
        """
        low, high = np.searchsorted(self._positions, [first, first + batch.num_rows])
        index = self._positions[low:high] - first
        index = index[plan_rows[index] >= 0]  # rows that are not in the input are the business of coverage
        if not len(index):
            return
        columns = batch.select([name for name in ("inputs", "source") if name in batch.schema.names])
        self._waiting.append((columns.take(pa.array(index)), plan_rows[index], where))
        if sum(len(rows) for _, rows, _ in self._waiting) >= _WAITING_ROWS:
            self._compare_waiting()

    def finding(self) -> Finding:
        """The finding ``source`` over everything that was added."""
        self._compare_waiting()
        with self._nearby() as nearby:
            self._count_all(nearby)
        files = self._snapshot.files.num_rows
        counts = {"files": files, "counted": self.counted, "wrong_counts": self.wrong_counts,
                  "compared": self.compared, "different": self.different, "undecided": self.undecided}  # fmt: skip
        found = (
            f"{self.counted} of {files} files counted by {self._reader.name}, {self.wrong_counts} with other rows; "
            f"{self.compared} rows of {len(self._files)} files compared, {self.different} differ"
        )
        if self.undecided:
            found += f"; {self.undecided} values that nobody can compare"
        if self._why_not:
            whys = [f"{what}: {why}" for what, why in list(self._why_not.items())[:MAX_EXAMPLES]]
            found += f"; not compared: {len(self._why_not)} ({'; '.join(whys)})"
        if self.wrong_counts or self.different:
            return Finding(
                "source", False, EXPECTED, found,
                "do not load this folder. Look the named row up in the file: where it holds what "
                f"{self._reader.name} says, our reader is wrong; report it, and write the file in another format",
                counts, tuple(self._examples),
            )  # fmt: skip
        if not self.compared and (self._rows or not self.counted):
            why = "no row compared, as source_sample=0: " if not len(self._positions) else "no row compared: "
            return Finding("source", None, EXPECTED, why + found, "leave `source` out of require=", counts)
        return Finding("source", True, EXPECTED, found, "", counts)

    @contextlib.contextmanager
    def _nearby(self) -> Iterator[Nearby]:
        with tempfile.TemporaryDirectory(prefix="json2vec-source-", ignore_cleanup_errors=True) as folder:
            nearby = Nearby(self._source, Path(folder), self._left)
            yield nearby
            self._left = nearby.left

    # -- counts --------------------------------------------------------------------------------------------------------

    def _count_all(self, nearby: Nearby) -> None:
        files = np.arange(self._snapshot.files.num_rows)
        rows = np.diff(self._snapshot.starts)
        if len(files) > REMOTE_FILES and self._is_far(nearby):
            files = np.sort(_generator(self._seed).choice(files, REMOTE_FILES, replace=False))
            left = self._snapshot.files.num_rows - REMOTE_FILES
            self._why_not[f"the rows of {left} files"] = f"of an object store {REMOTE_FILES} files are counted"
        for file in files.tolist():
            path = self._snapshot.path(file)
            near = nearby.file(path)
            try:
                if not self._snapshot.files["size"][file].as_py():
                    count = 0  # no bytes, no rows, in whatever format
                elif file in self._counts:
                    count = self._counts[file]
                else:
                    count = self._reader.count(near, self._options)
            except Exception as exc:  # as below
                self._skip(path, exc)
                continue
            finally:
                near.close()
            self.counted += 1
            if count != rows[file]:
                self.wrong_counts += 1
                self._example(f"{path}: expected {count} rows ({self._reader.name}), got {rows[file]} (ours)")

    def _is_far(self, nearby: Nearby) -> bool:
        near = nearby.file(self._snapshot.path(0))
        try:
            return near.is_far()
        except (Json2VecError, OSError):
            return False
        finally:
            near.close()

    # -- values --------------------------------------------------------------------------------------------------------

    def _compare_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        rows = np.concatenate([rows for _, rows, _ in waiting])
        with self._nearby() as nearby:
            for file in np.unique(np.searchsorted(self._snapshot.starts, rows, side="right") - 1).tolist():
                first, stop = self._snapshot.starts[file : file + 2].tolist()
                some = [(batch, rows - first, where, np.flatnonzero((rows >= first) & (rows < stop)))
                        for batch, rows, where in waiting]  # fmt: skip
                self._compare_file(nearby, file, some)

    def _compare_file(
        self, nearby: Nearby, file: int, some: list[tuple[pa.RecordBatch, np.ndarray, str, np.ndarray]]
    ) -> None:
        """Compare rows of one input file: batches, the row in the file of each of their rows, where they are, and which
        of their rows are meant."""
        wanted = np.unique(np.concatenate([rows[at] for _, rows, _, at in some])).tolist()
        path, near = self._snapshot.path(file), None
        try:
            near = nearby.file(path)
            theirs = self._reader.rows(near, wanted, self._options)
            if theirs.count is not None:
                self._counts[file] = theirs.count
            kept = some[0][0].schema.field("inputs").type if "inputs" in some[0][0].schema.names else ()
            whole = {field.name for field in kept}.issuperset(self._snapshot.schema.names)
            ours = {} if whole else self._read(int(self._snapshot.starts[file]), wanted)
        except Exception as exc:  # what a foreign library raises on a file that it does not know is its own choice
            self._skip(path, exc)
            return
        finally:
            if near is not None:
                near.close()
        self._why_not |= {f"{path} {name}": why for name, why in theirs.unread.items()}
        for batch, rows, where, at in some:
            for i in at.tolist():
                self._compare(file, int(rows[i]), batch, i, where, ours, theirs)

    def _skip(self, path: str, exc: Exception) -> None:
        text = (str(exc) or type(exc).__name__).splitlines()[0]
        self._why_not[path] = text if isinstance(exc, NotCompared | Json2VecError) else f"{self._reader.name}: {text}"

    def _read(self, first: int, wanted: list[int]) -> dict[int, tuple[pa.RecordBatch, int, int]]:
        """What our reader gives now: by row of the file a batch, the row's place in it, and its hash."""
        rows = np.array(wanted, np.int64) + first
        cuts = np.flatnonzero(np.diff(rows) > NEAR) + 1
        ranges = tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(rows, cuts))
        found: dict[int, tuple[pa.RecordBatch, int, int]] = {}
        for batch in read_rows(self._snapshot, self._source, ranges, batch_size=NEAR, on_bad_row="quarantine",
                               check=self._check):  # fmt: skip
            plan_rows = self._locator.plan_rows(batch.source)
            hashes = batch.source.field("hash")
            for i in np.flatnonzero(np.isin(plan_rows, rows)).tolist():
                found[int(plan_rows[i]) - first] = (batch.inputs, i, hashes[i].as_py())
        return found

    def _compare(
        self,
        file: int,
        row: int,
        batch: pa.RecordBatch,
        at: int,
        where: str,
        ours: dict[int, tuple[pa.RecordBatch, int, int]],
        theirs: Rows,
    ) -> None:
        name = f"{self._snapshot.path(file)} row {row}"
        if row not in theirs.values:
            if f"row {row}" not in theirs.unread:
                self.different += 1
                self._example(f"{name} in {where}: {self._reader.name} finds no such row")
            return
        expected, differs, compared = theirs.values[row], False, False
        for column, kind, got, place in self._got(row, batch, at, where, ours):
            if column in theirs.unread:
                continue
            compared = True
            answer = same(kind, got, expected.get(column))
            if answer is None:
                self.undecided += 1
            elif not answer:
                differs = True
                self._example(f"{name} in {where}: column {column!r}: expected {_shown(expected.get(column))} "
                              f"({self._reader.name}), got {_shown(got)} ({place})")  # fmt: skip
        if compared:
            self.compared += 1
            self._files.add(file)
        self.different += differs

    def _got(
        self, row: int, batch: pa.RecordBatch, at: int, where: str, ours: dict[int, tuple[pa.RecordBatch, int, int]]
    ) -> Iterator[tuple[str, Any, Any, str]]:
        """Name, type, value and origin of each column of an output row: as the rank file keeps it, else as our reader
        gives it, if the row's hash says that this is what was encoded."""
        has: Any = batch.column("inputs") if "inputs" in batch.schema.names else pa.nulls(batch.num_rows, pa.struct([]))
        kept = {field.name: i for i, field in enumerate(has.type)}
        now = ours.get(row)
        if now is not None and now[2] != batch.column("source").field("hash")[at].as_py():
            now = None  # another row than was predicted: the finding `inputs` fails
        for field in self._snapshot.schema:
            if field.name in self._beside:
                continue
            if field.name in kept:
                values = has.field(kept[field.name])
                yield field.name, values.type, plain_value(values[at]) if has[at].is_valid else None, where
            elif now is not None:
                values = now[0].column(field.name)
                yield field.name, values.type, plain_value(values[now[1]]), "our reader"

    def _example(self, text: str) -> None:
        if len(self._examples) < MAX_EXAMPLES:
            self._examples.append(text)


def _shown(value: Any) -> str:
    text = f"{value.nanoseconds} ns ({value.kind})" if isinstance(value, Moment) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
