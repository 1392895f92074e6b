"""What `json2vec.profile.profiler` counts with: an even sample, and tallies of labels, numbers and lists.

A folder is a number from 0 to `FOLDERS` - 1 that stands for where a row's file lies. V: values in a batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from json2vec.address import Address
from json2vec.columns import child
from json2vec.errors import EncodeError
from json2vec.fields.vocabulary import Vocabulary, as_texts
from json2vec.profile.profile import QUANTILES, TOP_LABELS, Labels, Lengths, Numbers
from json2vec.reading.row_hash import mix

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

SAMPLED = 32_768
"""Values of a leaf that decide about its quantiles, its bins, and how far folders lie apart."""
FOLDERS = 4096
ENOUGH = 30
"""Values of a folder from which its rates count."""
_LIMIT = 1e150
"""Larger numbers count as this: their squares would overflow."""
_STRANGE = 1000
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64 adds it first, so that 0 does not stay 0


class EvenSample:
    """At most `SAMPLED` of many values, each with its folder.

    Those are kept whose number (counted from the first value on) has a hash that ends in enough zero bits; one bit more
    is asked for whenever they grow too many. So neither batches nor a period in the data matter.
    """

    def __init__(self, dtype: Any) -> None:
        self._seen, self._mask = 0, np.uint64(0)
        self._hashes = np.zeros(0, np.uint64)
        self.values: np.ndarray = np.zeros(0, dtype)
        self.folders = np.zeros(0, np.int64)

    def update(self, values: np.ndarray, folders: np.ndarray) -> None:
        hashes = mix(np.arange(self._seen, self._seen + len(values), dtype=np.uint64) + _GOLDEN)
        self._seen += len(values)
        kept = (hashes & self._mask) == 0
        self.values = np.concatenate([self.values, values[kept]])
        self.folders = np.concatenate([self.folders, folders[kept]])
        self._hashes = np.concatenate([self._hashes, hashes[kept]])
        while len(self.values) > SAMPLED:
            self._mask = (self._mask << np.uint64(1)) | np.uint64(1)
            kept = (self._hashes & self._mask) == 0
            self.values, self.folders, self._hashes = self.values[kept], self.folders[kept], self._hashes[kept]

    def histograms(self, bins: np.ndarray, count: int) -> np.ndarray:
        """int64 (folders, 1 + count): of each folder with enough values, whether they are all the same, and its values
        in each bin; ``bins`` says which one each value is in."""
        sizes = np.bincount(self.folders, minlength=FOLDERS)
        enough = np.flatnonzero(sizes >= ENOUGH)
        histograms = np.zeros((len(enough), 1 + count), np.int64)
        for row, folder in enumerate(enough):
            inside = self.folders == folder
            histograms[row, 0] = len(np.unique(self.values[inside])) == 1
            histograms[row, 1:] = np.bincount(bins[inside], minlength=count)
        return histograms


class LabelTally:
    """How often each label of a vocabulary occurs, and which unknown ones do."""

    def __init__(self, *, compared: bool) -> None:
        self._compared = compared
        self._known = np.zeros(0, np.int64)  # by index in the vocabulary
        self._unknown = 0
        self._strange: Counter[Any] = Counter()
        self._sample = EvenSample(np.int64)

    def update(self, values: Any, vocabulary: Vocabulary, folders: np.ndarray | None) -> None:
        """Take in labels; ``folders`` says where each is from, where they are one for each slot."""
        if not len(values):
            return
        index = vocabulary.lookup(values)
        counts = np.bincount(index[index < vocabulary.capacity], minlength=len(vocabulary))
        self._known = counts + np.pad(self._known, (0, len(counts) - len(self._known)))
        unknown = index >= vocabulary.capacity
        self._unknown += int(unknown.sum())
        if folders is not None:
            self._sample.update(index, folders)
        if self._compared and unknown.any() and len(self._strange) < _STRANGE:
            if isinstance(values, list):
                self._strange.update(as_texts([v for v, strange in zip(values, unknown, strict=True) if strange]))
            else:
                counted = pc.value_counts(values.filter(pa.array(unknown)))
                for label, count in zip(as_texts(counted.field(0)), counted.field(1).to_pylist(), strict=True):
                    self._strange[label] += count

    def _best(self) -> list[int]:
        order = np.lexsort((np.arange(len(self._known)), -self._known))
        return [int(i) for i in order[:TOP_LABELS] if self._known[i]]

    def finish(self, vocabulary: Vocabulary, expected: Labels | None) -> Labels:
        counts, best = self._known, self._best()
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

    def by_folder(self, vocabulary: Vocabulary) -> np.ndarray:
        """Histograms over the frequent labels, the other known ones and the unknown ones."""
        best = self._best()
        bins = np.full(vocabulary.capacity + 1, len(best))
        bins[best] = np.arange(len(best))
        bins[vocabulary.capacity] = len(best) + 1
        return self._sample.histograms(bins[self._sample.values], len(best) + 2)


class NumberTally:
    """Moments of all values, and an even sample of them."""

    def __init__(self, reference: Numbers | None) -> None:
        self._reference = reference
        self._outside = self._far = 0
        self._edges = np.array(reference.edges) if reference is not None else None
        self._bins = np.zeros(0 if reference is None else len(reference.edges) + 1, np.int64)
        self._count = self._infinite = 0
        self._mean = self._squares = 0.0
        self._min, self._max = math.inf, -math.inf
        self._sample = EvenSample(np.float64)

    def update(self, values: np.ndarray, folders: np.ndarray) -> None:
        finite = np.isfinite(values)
        self._infinite += int((~finite).sum())
        values, folders = values[finite].clip(-_LIMIT, _LIMIT), folders[finite]
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
        self._sample.update(values, folders)

    def _compare(self, values: np.ndarray, reference: Numbers) -> None:
        low, high = reference.min, reference.max
        width = high - low or max(abs(high), 1.0)
        self._outside += int(((values < low - width / 2) | (values > high + width / 2)).sum())
        self._far += int(((values < low - width) | (values > high + width)).sum())

    def finish(self) -> Numbers | None:
        if not self._count and not self._infinite:
            return None
        sample = np.sort(self._sample.values) if self._count else np.zeros(1)
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

    def by_folder(self, numbers: Numbers | None) -> np.ndarray | None:
        """Histograms over the bins of all values."""
        if numbers is None:
            return None
        bins = np.searchsorted(np.array(numbers.edges), self._sample.values)
        return self._sample.histograms(bins, len(numbers.edges) + 1)


def _quantiles(ordered: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values of the sample, none in between: an integer column has integers as its quantiles."""
    return ordered[np.minimum((at * len(ordered)).astype(np.int64), len(ordered) - 1)]


class ListTally:
    """The lists of one array."""

    def __init__(self, address: Address, steps: Sequence[str | None], length: int) -> None:
        self._address, self._steps, self._length = address, steps, length
        self._items = self._longest = 0
        self._by_folder = np.zeros((3, FOLDERS), np.int64)  # lists, empty ones, those that overflow

    def update(self, rows: pa.RecordBatch, folders: np.ndarray) -> None:
        sizes, owners = list_sizes(rows, self._steps, self._address)
        self._items += int(sizes.sum())
        self._longest = max(self._longest, int(sizes.max(initial=0)))
        for index, chosen in enumerate((sizes >= 0, sizes == 0, sizes > self._length)):
            self._by_folder[index] += np.bincount(folders[owners[chosen]], minlength=FOLDERS)

    def finish(self) -> Lengths:
        lists, empty, overflow = (int(total) for total in self._by_folder.sum(1))
        enough = self._by_folder[:, self._by_folder[0] >= ENOUGH]
        most = (enough[1:] / enough[0]).max(1, initial=0.0).tolist() if enough.shape[1] > 1 else [0.0, 0.0]
        return Lengths(lists, empty, overflow, self._items, self._longest, *most)


def list_sizes(
    rows: pa.RecordBatch, steps: Sequence[str | None], address: Address
) -> tuple[np.ndarray, np.ndarray]:
    """Two int64 arrays: items of every list that ``steps`` lead to, 0 for one that is missing; and the row it is in.

    Raises:
        EncodeError: what is there is no list.
    """
    array: pa.Array | None = None
    owners = np.arange(rows.num_rows, dtype=np.int64)
    for step in steps:
        if step is not None:
            array = child(rows, array, step, address)
            continue
        lists = _lists(array, address)
        owners = np.repeat(owners, _sizes(lists))
        array = lists.flatten()
    return _sizes(_lists(array, address)), owners


def _sizes(lists: Any) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)


def _lists(array: Any, address: Address) -> Any:
    arrow_type = array.type
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        return array
    if array.null_count == len(array):
        return pa.nulls(len(array), pa.list_(pa.null()))
    raise EncodeError(f"{address}: expected a list, found a column of type {arrow_type}")
