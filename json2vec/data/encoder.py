"""What the loaders need of a model."""

from __future__ import annotations

from typing import Protocol

from json2vec.batch import Batch
from json2vec.enums import Strata
from json2vec.reading.row_batch import RowBatch


class Encoder(Protocol):
    """Makes batches of rows, as a `json2vec.Model` does.

    Attributes:
        batch_size: rows of a batch.
    """

    @property
    def batch_size(self) -> int: ...

    def encode(self, rows: RowBatch, /, *, strata: Strata = ...) -> Batch:
        """N rows as tensors; they stay in the batch's ``rows``."""
        ...
