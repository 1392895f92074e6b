"""Collecting a `Profile`, a batch at a time. The result does not depend on how the rows are cut into batches.

Legend: V values of a leaf in a batch, one for each valued slot.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from json2vec.address import Address
from json2vec.columns import LeafColumn
from json2vec.enums import Tokens
from json2vec.errors import EncodeError
from json2vec.fields.encode import located, resolve
from json2vec.fields.registry import field_type
from json2vec.fields.vocabulary import NO_VOCABULARY, Vocabulary
from json2vec.profile.counters import ENOUGH, FOLDERS, LabelTally, ListTally, NumberTally
from json2vec.profile.profile import Apart, LeafProfile, Profile, stability_index
from json2vec.reading.row_batch import RowBatch
from json2vec.schema.nodes import Leaf
from json2vec.schema.queries import EACH
from json2vec.schema.schema import Schema

BY_ROW_LIMIT = 16_384
"""Rows in which leaves are counted whose query only jmespath understands, which costs Python for every row."""


class Profiler:
    """Counts slots, labels and numbers of the leaves that a model reads.

    Args:
        schema: the schema of the model.
        vocabularies: the labels that the model knows, by address of the leaf. They may grow in between, as long as a
            batch's own labels are learned before the batch comes here.
        reference: the profile that the result will be compared with: numbers are counted in its bins, labels in its
            order, and unknown labels are kept.
    """

    def __init__(
        self, schema: Schema, vocabularies: Mapping[Address, Vocabulary], reference: Profile | None = None
    ) -> None:
        self._schema = schema
        self._vocabularies = vocabularies
        self._compared = reference is not None
        expected_leaves = {} if reference is None else reference.leaves
        self._leaves = {
            address: _LeafCounts(leaf, expected_leaves.get(address), compared=self._compared)
            for address, leaf in schema.inputs.items()
        }
        self._arrays = {
            address: ListTally(address, steps, schema.arrays[address].max_length)
            for address in schema.arrays
            if (steps := _steps_to(schema, address)) is not None
        }
        self.rows = 0

    def update(self, rows: RowBatch | pa.RecordBatch) -> None:
        """Take in N rows.

        Raises:
            EncodeError: a value that its field cannot encode, naming address, file and row.
        """
        observations = rows.observations if isinstance(rows, RowBatch) else rows
        folders = _folders(rows) if isinstance(rows, RowBatch) else np.zeros(rows.num_rows, np.int64)
        for address, counts in self._leaves.items():
            counted_rows = observations
            if self._schema.query(address).steps is None:
                counted_rows = observations.slice(0, max(0, BY_ROW_LIMIT - self.rows))
            if counted_rows.num_rows:
                try:
                    column = resolve(counted_rows, self._schema, address, predict=True)
                    counts.update(
                        column, self._vocabularies.get(address, NO_VOCABULARY), folders[: counted_rows.num_rows]
                    )
                except EncodeError as exc:
                    raise located(exc, address, rows) from exc
        for lists in self._arrays.values():
            lists.update(observations, folders)
        self.rows += observations.num_rows

    def finish(self, schema: pa.Schema, *, suffix: str = "parquet", preprocessed: bool = False) -> Profile:
        """The profile of all rows so far.

        Args:
            schema: the schema of the shards as they were read, before any preprocessor.
            suffix: the format of the shards.
            preprocessed: whether a preprocessor made what was counted.
        """
        return Profile(
            rows=self.rows,
            schema=schema,
            suffix=str(suffix),
            preprocessed=preprocessed,
            leaves={
                str(address): counts.finish(self._vocabularies.get(address))
                for address, counts in self._leaves.items()
            },
            arrays={str(address): counts.finish() for address, counts in self._arrays.items()},
        )


def _steps_to(schema: Schema, address: Address) -> tuple[str | None, ...] | None:
    """The steps to an array's list, as the first leaf below it that says so goes; None for the root."""
    depth = len(address.parts) - 1
    if not depth:
        return None
    for leaf in schema.inputs:
        steps = schema.query(leaf).steps
        if steps is not None and leaf.startswith(f"{address}/"):
            lists = [index for index, step in enumerate(steps) if step is EACH]
            return steps[: lists[depth - 1]]
    return None


def _folders(rows: RowBatch) -> np.ndarray:
    """int64 (N,): a number for the folder that each row's file lies in, below the root; the file's own in the root."""
    files = rows.source.field("file")
    names = [path.rpartition("/")[0] or path for path in files.dictionary.to_pylist()]
    numbers = np.array([zlib.crc32(name.encode()) % FOLDERS for name in names], np.int64)
    return numbers[files.indices.to_numpy(zero_copy_only=False)]


class _LeafCounts:
    """The running counts of one leaf."""

    def __init__(self, leaf: Leaf, reference: LeafProfile | None, *, compared: bool) -> None:
        self._leaf, self._reference = leaf, reference
        self._states = np.zeros(len(Tokens), np.int64)
        self._nulls = np.zeros((2, FOLDERS), np.int64)  # null and occupied slots by folder
        self._split, self._measure = field_type(leaf).labels, field_type(leaf).measure
        self._labels = LabelTally(compared=compared) if field_type(leaf).capacity is not None else None
        measured = self._measure is not None
        self._numbers = NumberTally(reference.numbers if reference else None) if measured else None

    def update(self, column: LeafColumn, vocabulary: Vocabulary, folders: np.ndarray) -> None:
        """Take in a column of N rows; ``folders`` int64 (N,) says which folder each is from."""
        try:
            self._update(column, vocabulary, folders)
        except EncodeError as exc:
            if exc.item is not None and exc.row is None:
                exc.row = int(column.rows()[exc.item])
            raise

    def _update(self, column: LeafColumn, vocabulary: Vocabulary, folders: np.ndarray) -> None:
        if self._labels is not None:
            values = column.values if self._split is None else self._split(column.values)
            single = len(values) == len(column.slots)
            self._labels.update(values, vocabulary, folders[column.rows()] if single else None)
        if self._numbers is not None and self._measure is not None:
            values = self._measure(column, self._leaf)
            number = ~np.isnan(values)
            column.state[column.slots[~number]] = Tokens.null  # such as a text that spells NaN
            self._numbers.update(values[number], folders[column.rows()[number]])
        self._states += np.bincount(column.state, minlength=len(Tokens))
        by_slot = np.repeat(folders, len(column.state) // max(1, len(folders)))
        self._nulls[0] += np.bincount(by_slot[column.state == Tokens.null], minlength=FOLDERS)
        self._nulls[1] += np.bincount(by_slot[column.state != Tokens.padded], minlength=FOLDERS)

    def finish(self, vocabulary: Vocabulary | None) -> LeafProfile:
        expected = self._reference.labels if self._reference else None
        labels = numbers = histograms = None
        if self._labels is not None and vocabulary is not None:
            labels = self._labels.finish(vocabulary, expected)
            histograms = self._labels.by_folder(vocabulary)
        if self._numbers is not None:
            numbers = self._numbers.finish()
            histograms = self._numbers.by_folder(numbers)
        nulls, occupied = self._nulls[:, self._nulls[1] >= ENOUGH]
        apart = Apart(null_rate=float((nulls / occupied).max())) if len(nulls) > 1 else Apart()
        if histograms is not None and len(histograms) > 1:
            apart = replace(apart, **_variation(histograms))
        return LeafProfile(
            type=self._leaf.type,
            valued=int(self._states[Tokens.valued]),
            null=int(self._states[Tokens.null]),
            padded=int(self._states[Tokens.padded]),
            masked=int(self._states[Tokens.masked]),
            labels=labels,
            numbers=numbers,
            apart=apart,
        )


def _variation(histograms: np.ndarray) -> dict[str, Any]:
    """Of the histograms (folders, 1 + bins), whose first column is 1 where all values were the same: how far they lie
    from their sum."""
    constant, counts = histograms[:, 0], histograms[:, 1:]
    total = counts.sum(0).tolist()
    indexes = [(stability_index(total, folder.tolist()), int(folder.sum())) for folder in counts]
    psi = max(max(0.0, index - (bins - 1) / n) for (index, bins), n in indexes)
    return {"folders": len(counts), "psi": float(psi), "constant": int(constant.sum())}
