"""Calling a postprocessor as the writer does, in prediction and again in verification."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from json2vec.batch import Batch, RowBatch, Rows
from json2vec.enums import TensorKey
from json2vec.processors import apply_postprocessor, as_postprocessor

if TYPE_CHECKING:
    from json2vec.predictions import Predictions


def postprocessed(
    postprocessor: Callable[..., Any],
    predictions: Predictions,
    batch: Batch,
    rows: RowBatch,
    *,
    batch_idx: int = 0,
    batch_indices: Sequence[int] = (),
    dataloader_idx: int = 0,
) -> Mapping[str, Any]:
    """What ``postprocessor`` makes of N predictions: for each address row-aligned columns.

    Args:
        predictions: on the CPU. batch: the encoded rows. rows: N rows, as read and as processed.

    Raises:
        ProcessorError, AlignmentError: see `apply_postprocessor`.
    """
    context = {
        "input": batch,
        "batch": batch,
        TensorKey.metadata: Rows(rows.observations),
        "batch_indices": list(batch_indices),
        "batch_idx": batch_idx,
        "dataloader_idx": dataloader_idx,
    }
    made = as_postprocessor(postprocessor)
    given = predictions.columns() if made is not None and made.columnar else predictions.to_python()
    return apply_postprocessor(made, context, given, len(rows))
