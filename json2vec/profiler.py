"""Collecting a `Profile`, a batch at a time. The result does not depend on how the rows are cut into batches.

Legend: V values of a leaf in a batch, one for each valued slot.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from json2vec.address import Address
from json2vec.batch import RowBatch
from json2vec.columns import LeafColumn, child
from json2vec.encode import located, resolve
from json2vec.enums import Tokens
from json2vec.errors import EncodeError
from json2vec.fields.registry import field_type
from json2vec.fields.values import as_float64
from json2vec.fields.vocabulary import NO_VOCABULARY, Vocabulary
from json2vec.profile import QUANTILES, TOP_LABELS, Labels, LeafProfile, Lengths, Numbers, Profile
from json2vec.queries import EACH
from json2vec.schema import Leaf, Schema

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

SAMPLED = 8192
"""Values of a leaf that decide about its quantiles and bins."""
BY_ROW_LIMIT = 16_384
"""Rows in which leaves are counted whose query only jmespath understands, which costs Python for every row."""
_LIMIT = 1e150
"""Larger numbers count as this: their squares would overflow."""
_STRANGE = 1000


class Profiler:
    """Counts slots, labels and numbers of the leaves that a model reads.

    Args:
        schema: of the model.
        vocabularies: by address; they may grow in between, as long as a batch's own labels are learned before the
            batch comes here.
        reference: the profile that the result will be compared with: numbers are counted in its bins, labels in its
            order, and unknown labels are kept.
    """

    def __init__(
        self, schema: Schema, vocabularies: Mapping[Address, Vocabulary], reference: Profile | None = None
    ) -> None:
        self._schema = schema
        self._vocabularies = vocabularies
        self._compared = reference is not None
        known = {} if reference is None else reference.leaves
        self._leaves = {
            address: _LeafCounts(leaf, known.get(address), compared=self._compared)
            for address, leaf in schema.inputs.items()
        }
        self._arrays = {
            address: (steps, np.zeros(4, np.int64), [0])
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
        for address, counts in self._leaves.items():
            some = observations
            if self._schema.query(address).steps is None:
                some = observations.slice(0, max(0, BY_ROW_LIMIT - self.rows))
            if some.num_rows:
                try:
                    counts.update(
                        resolve(some, self._schema, address, predict=True),
                        self._vocabularies.get(address, NO_VOCABULARY),
                    )
                except EncodeError as exc:
                    raise located(exc, address, rows) from exc
        for address, (steps, totals, longest) in self._arrays.items():
            sizes = list_sizes(observations, steps, address)
            length = self._schema.arrays[address].max_length
            totals += [len(sizes), int((sizes == 0).sum()), int((sizes > length).sum()), int(sizes.sum())]
            longest[0] = max(longest[0], int(sizes.max(initial=0)))
        self.rows += observations.num_rows

    def finish(self, schema: pa.Schema, *, suffix: str = "parquet", preprocessed: bool = False) -> Profile:
        """The profile of all rows so far; ``schema`` is that of the shards, as read."""
        return Profile(
            rows=self.rows,
            schema=schema,
            suffix=str(suffix),
            preprocessed=preprocessed,
            leaves={
                str(address): counts.finish(self._vocabularies.get(address))
                for address, counts in self._leaves.items()
            },
            arrays={
                str(address): Lengths(*(int(total) for total in totals), longest=longest[0])
                for address, (_, totals, longest) in self._arrays.items()
            },
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


def list_sizes(rows: pa.RecordBatch, steps: Sequence[str | None], address: Address) -> np.ndarray:
    """int64: items of every list that ``steps`` lead to; 0 for one that is missing.

    Raises:
        EncodeError: what is there is no list.
    """
    array: pa.Array | None = None
    for step in steps:
        array = child(rows, array, step, address) if step is not None else _lists(array, address).flatten()
    lists = _lists(array, address)
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)


def _lists(array: Any, address: Address) -> Any:
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return array
    if array.null_count == len(array):
        return pa.nulls(len(array), pa.list_(pa.null()))
    raise EncodeError(f"{address}: expected a list, found a column of type {kind}")


class _LeafCounts:
    """The running counts of one leaf."""

    def __init__(self, leaf: Leaf, reference: LeafProfile | None, *, compared: bool) -> None:
        kind = field_type(leaf)
        self._leaf, self._reference = leaf, reference
        self._states = np.zeros(len(Tokens), np.int64)
        self._labels = _LabelCounts(compared=compared) if kind.capacity is not None else None
        numeric = leaf.type in ("number", "vector")
        self._numbers = _NumberCounts(reference.numbers if reference else None) if numeric else None

    def update(self, column: LeafColumn, vocabulary: Vocabulary) -> None:
        try:
            self._update(column, vocabulary)
        except EncodeError as exc:
            if exc.item is not None and exc.row is None:
                exc.row = int(column.rows()[exc.item])
            raise

    def _update(self, column: LeafColumn, vocabulary: Vocabulary) -> None:
        if self._labels is not None:
            labels = field_type(self._leaf).labels
            self._labels.update(column.values if labels is None else labels(column.values), vocabulary)
        if self._numbers is not None:
            if self._leaf.type == "vector":
                content = field_type(self._leaf).encode(column, self._leaf, NO_VOCABULARY)["value"]
                values = np.linalg.norm(content[column.slots].astype(np.float64), axis=-1)
            else:
                values = as_float64(column)
                column.state[column.slots[np.isnan(values)]] = Tokens.null  # a text that spells NaN
                values = values[~np.isnan(values)]
            self._numbers.update(values)
        self._states += np.bincount(column.state, minlength=len(Tokens))

    def finish(self, vocabulary: Vocabulary | None) -> LeafProfile:
        expected = self._reference.labels if self._reference else None
        return LeafProfile(
            type=self._leaf.type,
            valued=int(self._states[Tokens.valued]),
            null=int(self._states[Tokens.null]),
            padded=int(self._states[Tokens.padded]),
            masked=int(self._states[Tokens.masked]),
            labels=None if self._labels is None or vocabulary is None else self._labels.finish(vocabulary, expected),
            numbers=None if self._numbers is None else self._numbers.finish(),
        )


class _LabelCounts:
    def __init__(self, *, compared: bool) -> None:
        self._compared = compared
        self._known = np.zeros(0, np.int64)  # by index in the vocabulary
        self._unknown = 0
        self._strange: Counter[Any] = Counter()

    def update(self, values: Any, vocabulary: Vocabulary) -> None:
        if not len(values):
            return
        index = vocabulary.lookup(values)
        counts = np.bincount(index[index < vocabulary.capacity], minlength=len(vocabulary))
        self._known = counts + np.pad(self._known, (0, len(counts) - len(self._known)))
        unknown = index >= vocabulary.capacity
        self._unknown += int(unknown.sum())
        if self._compared and unknown.any() and len(self._strange) < _STRANGE:
            if isinstance(values, list):
                self._strange.update(value for value, strange in zip(values, unknown, strict=True) if strange)
            else:
                found = pc.value_counts(values.filter(pa.array(unknown)))
                self._strange.update(dict(zip(*(found.field(i).to_pylist() for i in (0, 1)), strict=True)))

    def finish(self, vocabulary: Vocabulary, expected: Labels | None) -> Labels:
        counts = self._known
        order = np.lexsort((np.arange(len(counts)), -counts))
        best = [int(i) for i in order[:TOP_LABELS] if counts[i]]
        if expected is not None:
            place = {(isinstance(label, str), label): i for i, label in enumerate(vocabulary.labels)}
            asked = [place.get((isinstance(label, str), label)) for label, _ in expected.top]
            first = [i for i in asked if i is not None and i < len(counts)]
            best = [*first, *(i for i in best if i not in set(first))]
        return Labels(
            count=int(counts.sum()) + self._unknown,
            unknown=self._unknown,
            once=int((counts == 1).sum()),
            distinct=int((counts > 0).sum()),
            full=vocabulary.full,
            top=tuple((vocabulary.labels[i], int(counts[i])) for i in best),
            strange=tuple(self._strange.most_common(TOP_LABELS)),
        )


class _NumberCounts:
    """Moments of all values, and an even sample of them.

    The sample holds the values whose number (counted from the first row on) has a hash that ends in enough zero bits;
    one bit more is asked for whenever it grows too large. So neither batches nor a period in the data matter.
    """

    def __init__(self, reference: Numbers | None) -> None:
        self._reference = reference
        self._outside = self._far = 0
        self._edges = np.array(reference.edges) if reference is not None else None
        self._bins = np.zeros(0 if reference is None else len(reference.edges) + 1, np.int64)
        self._count = self._infinite = 0
        self._mean = self._squares = 0.0
        self._min, self._max = math.inf, -math.inf
        self._seen, self._mask = 0, np.uint64(0)
        self._sample, self._hashes = np.zeros(0), np.zeros(0, np.uint64)

    def update(self, values: np.ndarray) -> None:
        finite = np.isfinite(values)
        self._infinite += int((~finite).sum())
        values = values[finite].clip(-_LIMIT, _LIMIT)
        m = len(values)
        if not m:
            return
        self._min, self._max = min(self._min, float(values.min())), max(self._max, float(values.max()))
        total, mean = self._count + m, float(values.mean())
        delta = mean - self._mean  # Chan, Golub and LeVeque 1979
        self._squares += float(((values - mean) ** 2).sum()) + delta * delta * self._count * (m / total)
        self._mean += delta * (m / total)
        self._count = total
        if self._reference is not None:
            self._compare(values, self._reference)
        if self._edges is not None:
            self._bins += np.bincount(np.searchsorted(self._edges, values), minlength=len(self._bins))
        hashes = _splitmix(np.arange(self._seen, self._seen + m, dtype=np.uint64))
        self._seen += m
        kept = (hashes & self._mask) == 0
        self._sample = np.concatenate([self._sample, values[kept]])
        self._hashes = np.concatenate([self._hashes, hashes[kept]])
        while len(self._sample) > SAMPLED:
            self._mask = (self._mask << np.uint64(1)) | np.uint64(1)
            kept = (self._hashes & self._mask) == 0
            self._sample, self._hashes = self._sample[kept], self._hashes[kept]

    def _compare(self, values: np.ndarray, reference: Numbers) -> None:
        low, high = reference.min, reference.max
        width = high - low or max(abs(high), 1.0)
        self._outside += int(((values < low) | (values > high)).sum())
        self._far += int(((values < low - width) | (values > high + width)).sum())

    def finish(self) -> Numbers | None:
        if not self._count and not self._infinite:
            return None
        sample = np.sort(self._sample) if self._count else np.zeros(1)
        edges, bins = self._edges, self._bins
        if edges is None:
            edges = np.unique(_quantiles(sample, np.arange(1, 10) / 10))
            bins = np.bincount(np.searchsorted(edges, sample), minlength=len(edges) + 1)
        return Numbers(
            count=self._count,
            infinite=self._infinite,
            mean=self._mean,
            std=math.sqrt(self._squares / max(1, self._count)),
            min=self._min if self._count else 0.0,
            max=self._max if self._count else 0.0,
            quantiles=tuple(_quantiles(sample, np.array(QUANTILES)).tolist()),
            edges=tuple(edges.tolist()),
            bins=tuple(bins.tolist()),
            outside=self._outside,
            far=self._far + (self._infinite if self._reference is not None and not self._reference.infinite else 0),
        )


def _quantiles(ordered: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values of the sample, none in between: an integer column has integers as its quantiles."""
    return ordered[np.minimum((at * len(ordered)).astype(np.int64), len(ordered) - 1)]


def _splitmix(numbers: np.ndarray) -> np.ndarray:
    """uint64: a hash of each number (splitmix64)."""
    with np.errstate(over="ignore"):
        x = numbers + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
