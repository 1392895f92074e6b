"""Rejected rows: those that a preprocessor dropped on purpose, and those that were quarantined.

Quarantined rows could not be read or encoded. `max_rejected` limits them, and only them: how many rows a preprocessor
drops is its own business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.errors import IncompletePredictions
from json2vec.rank_files.manifest import RankedFile
from json2vec.storage.store import Store

DROPPED = "dropped"
MAX_REJECTED = 0.01
"""Default share of the input rows that may be quarantined."""
_EXAMPLES = 5
_BATCH_ROWS = 8192  # raw texts may be long


@dataclass(frozen=True)
class RejectedSummary:
    """What the rejected rows of a folder are.

    Attributes:
        dropped: how many rows a preprocessor dropped.
        quarantined: how many rows were quarantined.
        examples: the first few quarantined rows as ``file, row N: reason``.
        ranks: the ranks that quarantined rows.
    """

    dropped: int
    quarantined: int
    examples: tuple[str, ...]
    ranks: tuple[int, ...]


def check_max_rejected(value: float) -> None:
    """Raise ValueError unless ``value`` is a share (a float from 0 to 1) or a number of rows (an int from 0)."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole and value >= 0) and not (isinstance(value, float) and 0 <= value <= 1):
        raise ValueError(
            f"max_rejected is {value!r}; expected a share of the rows, a float from 0.0 to 1.0, or a number of rows, "
            "an int"
        )


def rejected_limit(max_rejected: float, rows: int) -> int:
    """How many of ``rows`` input rows may be quarantined; see `check_max_rejected`."""
    return max_rejected if isinstance(max_rejected, int) else int(max_rejected * rows)


def summarize_rejected(store: Store, files: Iterable[RankedFile]) -> RejectedSummary:
    """Read the reasons of all rejected rows; memory does not depend on their number.

    Raises:
        OSError: a file cannot be read.
        pa.ArrowException: a file is damaged.
    """
    dropped, quarantined = 0, Counter[int]()
    examples: list[str] = []
    for file in files:
        with store.open(file.path) as handle:
            for batch in pq.ParquetFile(handle).iter_batches(_BATCH_ROWS, columns=["file", "row", "reason"]):
                bad = batch.filter(is_quarantined(batch.column("reason")))
                dropped += batch.num_rows - bad.num_rows
                quarantined[file.rank] += bad.num_rows
                for row in bad.slice(0, max(0, _EXAMPLES - len(examples))).to_pylist():
                    examples.append(f"{row['file']}, row {row['row']}: {row['reason']}")
    ranks = tuple(sorted(rank for rank, count in quarantined.items() if count))
    return RejectedSummary(dropped, quarantined.total(), tuple(examples), ranks)


def is_quarantined(reasons: pa.Array) -> pa.BooleanArray:
    """bool (N,): which of the reasons is not `DROPPED`."""
    import pyarrow.compute as pc

    return pc.not_equal(reasons, DROPPED)  # type: ignore[attr-defined]


def check_rejected(
    quarantined: int, max_rejected: float, rows: int, *, where: str, examples: Iterable[str], ranks: Iterable[int]
) -> None:
    """Raise if more rows were quarantined than may be.

    Args:
        quarantined: how many rows were quarantined.
        max_rejected: how many may be; see `check_max_rejected`.
        rows: input rows in all.
        where: the folder, for the message.
        examples: some of the rows with their reasons, for the message.
        ranks: the ranks that quarantined rows.

    Raises:
        IncompletePredictions: there are too many; the message names the first rows and their reasons.
    """
    limit = rejected_limit(max_rejected, rows)
    if quarantined > limit:
        raise IncompletePredictions(
            f"{where}: {quarantined:,} of {rows:,} input rows were quarantined; max_rejected={max_rejected!r} allows "
            f"{limit:,}. First: {'; '.join(examples)}. Nothing was committed. Remedy: mend these rows, or "
            "raise max_rejected",
            ranks=ranks,
        )
