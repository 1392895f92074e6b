"""Where a row of the input lies in the numbering of a plan."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from json2vec.reading.snapshot import Snapshot


class Locator:
    """Turns ``source`` columns into the plan's row numbers.

    Args:
        snapshot: the input that the plan numbers: its files, in order, with the rows of each.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._paths: list[str] = snapshot.files["path"].to_pylist()
        self._index = {path: i for i, path in enumerate(self._paths)}
        self._starts = snapshot.starts

    def plan_rows(self, source: pa.StructArray | pa.RecordBatch) -> np.ndarray:
        """int64 (N,): plan row numbers, -1 for a file or row that the snapshot does not have.

        Args:
            source: anything with the columns ``file`` and ``row``.
        """
        names, rows = (source.column(name) if isinstance(source, pa.RecordBatch) else source.field(name)
                       for name in ("file", "row"))  # fmt: skip
        if not isinstance(names, pa.DictionaryArray) and (file_number := self._only_file(names)) is not None:
            row = rows.fill_null(-1).to_numpy(zero_copy_only=False)
            first, stop = self._starts[file_number], self._starts[file_number + 1]
            return np.where((row >= 0) & (row < stop - first), first + row, -1)
        encoded = names if isinstance(names, pa.DictionaryArray) else names.dictionary_encode()
        numbers = np.array([self._index.get(name, -1) for name in encoded.dictionary.to_pylist()] + [-1], np.int64)
        file = numbers[encoded.indices.fill_null(len(numbers) - 1).to_numpy(zero_copy_only=False)]
        row = rows.fill_null(-1).to_numpy(zero_copy_only=False)
        first = self._starts[file]
        inside = (file >= 0) & (row >= 0) & (row < self._starts[file + 1] - first)
        return np.where(inside, first + row, -1)

    def _only_file(self, names: pa.Array) -> int | None:
        """The number of the one file that all ``names`` name, or None: most batches are of one, and to compare is
        cheaper than to encode."""
        if not len(names) or names.null_count:
            return None
        same = pc.call_function("all", [pc.call_function("equal", [names, names[0]])]).as_py()
        return self._index.get(names[0].as_py()) if same else None

    def name(self, row: int) -> str:
        """A plan row number as file and row, for messages."""
        if not 0 <= row < self.snapshot.rows:
            return f"plan row {row}"
        file = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"{self._paths[file]} row {row - int(self._starts[file])}"

    def names(self, start: int, stop: int) -> str:
        """A range of plan row numbers, for messages."""
        if stop - start <= 1:
            return self.name(start)
        return f"{self.name(start)} to {self.name(stop - 1)} ({stop - start} rows)"
