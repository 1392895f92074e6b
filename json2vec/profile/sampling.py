"""Profiles of rows that lie in files: all of them, or a bounded number spread over the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from json2vec.address import Address
from json2vec.enums import Strata
from json2vec.fields.vocabulary import Vocabulary
from json2vec.processors import Preprocessor
from json2vec.profile.profile import Profile
from json2vec.profile.profiler import Profiler
from json2vec.reading.readers import OnBadRow, read_rows
from json2vec.reading.row_batch import RowBatch
from json2vec.reading.snapshot import Snapshot
from json2vec.reading.source import Source
from json2vec.schema.schema import Schema

PROFILE_ROWS = 65_536
"""Rows of a training profile where nothing else asks for a pass over all of them."""
_PIECES = 16  # each costs the decoding of its row group up to it
_ROWS_AT_ONCE = 8192


def spread(rows: int, rows_wanted: int, pieces: int = _PIECES) -> list[tuple[int, int]]:
    """Up to ``pieces`` ranges of row numbers, evenly over 0..rows-1, with ``rows_wanted`` rows in all.

    The first and the last row are among them.
    """
    if rows_wanted >= rows:
        return [(0, rows)] if rows else []
    count = max(1, min(pieces, rows_wanted))
    lengths = [rows_wanted // count + (i < rows_wanted % count) for i in range(count)]
    starts = np.linspace(0, rows - lengths[-1], count).astype(np.int64)
    ranges: list[tuple[int, int]] = []
    for start, length in zip(starts.tolist(), lengths, strict=True):
        start = max(start, ranges[-1][1]) if ranges else start
        ranges.append((start, min(start + length, rows)))
    return ranges


def sample_rows(
    snapshot: Snapshot,
    source: Source,
    rows: int,
    *,
    preprocessor: Preprocessor | None = None,
    on_bad_row: OnBadRow = "raise",
    strata: Strata = Strata.predict,
) -> Iterator[RowBatch]:
    """About ``rows`` input rows, spread over all files; see `json2vec.reading.readers.read_rows` for what it raises.

    Args:
        snapshot: the frozen list of the files.
        source: the store of the files, or the table that stands for them.
        rows: how many input rows to read.
        preprocessor: what makes observations of rows; None takes the rows as they are.
        on_bad_row: ``raise``, or ``quarantine`` to set unreadable rows aside.
        strata: the use of the rows, which the preprocessor is told.
    """
    yield from read_rows(
        snapshot, source, spread(snapshot.rows, rows), batch_size=_ROWS_AT_ONCE, preprocessor=preprocessor,
        on_bad_row=on_bad_row, strata=strata,
    )  # fmt: skip


def profile_rows(
    schema: Schema,
    vocabularies: Mapping[Address, Vocabulary],
    snapshot: Snapshot,
    source: Source,
    *,
    rows: int = PROFILE_ROWS,
    preprocessor: Preprocessor | None = None,
    on_bad_row: OnBadRow = "raise",
    strata: Strata = Strata.train,
) -> Profile:
    """The profile of about ``rows`` rows of a snapshot; the arguments are those of `Profiler` and `sample_rows`.

    Raises:
        EncodeError: a value that its field cannot encode. What `json2vec.reading.readers.read_rows` raises, too.
    """
    profiler = Profiler(schema, vocabularies)
    for batch in sample_rows(
        snapshot, source, rows, preprocessor=preprocessor, on_bad_row=on_bad_row, strata=strata
    ):
        if len(batch):
            profiler.update(batch)
    return profiler.finish(snapshot.schema, suffix=str(snapshot.suffix), preprocessed=preprocessor is not None)
