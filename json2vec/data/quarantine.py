"""Rows that a model cannot encode, set aside so that the rest of their batch is predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from json2vec.batch import Batch
from json2vec.data.encoder import Encoder
from json2vec.enums import Strata
from json2vec.errors import EncodeError
from json2vec.reading.records import record_json, records
from json2vec.reading.row_batch import RejectedRows, RowBatch

RAW_CHARACTERS = 100_000  # of a row's text that are kept


def encode_or_reject(model: Encoder, rows: RowBatch, *, strata: Strata = Strata.predict) -> Batch:
    """Encode ``rows``; what the model cannot encode goes to ``rows.rejected`` of the batch that is returned.

    An input row is rejected as a whole: if a preprocessor made several rows of it, all of them. Each bad row costs
    one more encoding of its batch.

    Raises:
        EncodeError: an error that no single row is to blame for, such as a column of the wrong type.
    """
    while True:
        try:
            return model.encode(rows, strata=strata)
        except EncodeError as exc:
            if exc.row is None:
                raise
            rows = reject(rows, exc.row, str(exc))


def reject(rows: RowBatch, index: int, reason: str) -> RowBatch:
    """``rows`` without the input row behind output row ``index``, which is added to ``rejected``; ``span`` stays."""
    source = rows.source[index].as_py()
    files, numbers = rows.source.field("file"), rows.source.field("row").to_numpy(zero_copy_only=False)
    same_row = np.flatnonzero(numbers == source["row"])
    bad = same_row[[files[int(i)].as_py() == source["file"] for i in same_row]]
    keep = np.ones(len(numbers), bool)
    keep[bad] = False
    raw = record_json(records(rows.inputs.slice(index, 1))[0])[:RAW_CHARACTERS]
    rejected = RejectedRows.of(source["file"], np.array([source["row"]], np.int64), [reason], [raw])
    return replace(rows.filter(keep), rejected=RejectedRows.concat([rows.rejected, rejected]))
