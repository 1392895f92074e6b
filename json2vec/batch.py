"""What flows from the readers to the writer: `RowBatch` (Arrow rows and where they came from) and `Batch` (tensors).

Shapes: N rows, L1, L2, ... the lengths of the arrays above a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from json2vec.address import Address

if TYPE_CHECKING:
    import torch

    from json2vec.data.readers import RejectedRows

SOURCE_TYPE = pa.struct(
    [
        pa.field("file", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("part", pa.int32(), nullable=False),
        pa.field("parts", pa.int32(), nullable=False),
        pa.field("hash", pa.uint64(), nullable=False),
    ]
)
"""The identity of an output row: the file it was read from (relative to the snapshot's root), its row there counted
from 0, which of how many rows a preprocessor made of it, and the hash of the row as read (`json2vec.row_hash`)."""


@dataclass(frozen=True)
class Stored:
    """Rows that need no prediction, put together with those of a `RowBatch` that do; N output rows in all.

    Attributes:
        inputs: the rows as read; N rows.
        source: N values of `SOURCE_TYPE`.
        predictions: M stored predictions, more than are wanted where that saves a copy.
        order: int64 (N,): where each row's prediction is, in the fresh ones of the batch followed by ``predictions``.
        reused: how many of the N rows take a stored prediction.
        attempt, manifest_sha256: whose predictions these are.
    """

    inputs: pa.RecordBatch
    source: pa.StructArray
    predictions: pa.StructArray
    order: np.ndarray
    reused: int
    attempt: str
    manifest_sha256: str


@dataclass(frozen=True)
class RowBatch:
    """Rows on their way from a file to the encoder, all in Arrow.

    Attributes:
        inputs: the rows as read, one for each output row; N rows.
        observations: what the encoder reads: ``inputs``, or what the preprocessor made of them; N rows.
        source: N values of `SOURCE_TYPE`.
        span: the half-open range of the plan's row numbers that this batch accounts for; it holds the rows that a
            preprocessor dropped too, so that ``span[1] - span[0]`` need not be N.
        rejected: rows of ``span`` that gave no output row, or None.
        stored: rows of ``span`` whose predictions are known already, put together with the N others, or None.
    """

    inputs: pa.RecordBatch
    observations: pa.RecordBatch
    source: pa.StructArray
    span: tuple[int, int]
    rejected: RejectedRows | None = None
    stored: Stored | None = None

    def __len__(self) -> int:
        return self.observations.num_rows

    def filter(self, kept: np.ndarray) -> RowBatch:
        """The output rows where ``kept``, bool (N,), says so; ``span`` and ``rejected`` stay."""
        mask = pa.array(kept)
        inputs = self.inputs.filter(mask)
        observations = inputs if self.observations is self.inputs else self.observations.filter(mask)
        return replace(self, inputs=inputs, observations=observations, source=self.source.filter(mask))


class Rows:
    """Dict-like rows over an Arrow batch, converted to Python only when somebody looks."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return self._batch.to_pylist()

    def __len__(self) -> int:
        return self._batch.num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)


@dataclass
class FieldBatch:
    """One encoded leaf.

    Attributes:
        state: int64 (N, 1, L1, L2, ...), values of `Tokens`.
        content: what the field type defines, in tensors that begin with the shape of ``state``.
        trainable: bool, shape of ``state``: slots whose original value is to be reconstructed; None where no slot is.
        target_state, target_content: state and content before hiding; None where nothing was hidden.
    """

    state: torch.Tensor
    content: dict[str, torch.Tensor]
    trainable: torch.Tensor | None = None
    target_state: torch.Tensor | None = None
    target_content: dict[str, torch.Tensor] | None = None

    @property
    def original_state(self) -> torch.Tensor:
        """The state before anything was hidden."""
        return self.state if self.target_state is None else self.target_state

    @property
    def original_content(self) -> dict[str, torch.Tensor]:
        """The content before anything was hidden."""
        return self.content if self.target_content is None else self.target_content

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> FieldBatch:
        """The same field with ``function`` applied to every tensor."""

        def each(tensors: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor] | None:
            return None if tensors is None else {key: function(tensor) for key, tensor in tensors.items()}

        return FieldBatch(
            state=function(self.state),
            content=each(self.content) or {},
            trainable=None if self.trainable is None else function(self.trainable),
            target_state=None if self.target_state is None else function(self.target_state),
            target_content=each(self.target_content),
        )


@dataclass
class Batch:
    """Encoded rows, ready for `Model.forward`.

    Attributes:
        fields: one `FieldBatch` for each active leaf; targets are left out in prediction, where they are never read.
        size: N.
        rows: the Arrow rows they were made of; None for hand-made batches.
    """

    fields: dict[Address, FieldBatch]
    size: int
    rows: RowBatch | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.size

    @property
    def nbytes(self) -> int:
        """Bytes of the states and contents."""
        fields = self.fields.values()
        return sum(tensor.nbytes for one in fields for tensor in (one.state, *one.content.values()))

    def to(self, device: torch.device | str, non_blocking: bool | None = None) -> Batch:
        """The batch with its tensors on ``device``; Arrow rows stay in host memory.

        Args:
            non_blocking: whether to go on while page-locked memory is copied; default: on the way to CUDA. Lightning
                asks for it with plain tensors only.
        """
        if non_blocking is None:
            non_blocking = str(device).startswith("cuda")
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The batch with its tensors in page-locked memory, for asynchronous copies to a GPU."""
        return self._map(lambda tensor: tensor.pin_memory())

    def slice(self, start: int, stop: int) -> Batch:
        """The encoded rows start ... stop - 1, without the Arrow rows they were made of."""
        part = self._map(lambda tensor: tensor[start:stop])
        return replace(part, size=min(stop, self.size) - start, rows=None)

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        return replace(self, fields={address: one.map(function) for address, one in self.fields.items()})


def source_array(
    files: list[str], file_index: np.ndarray, row: np.ndarray, part: np.ndarray, parts: np.ndarray, hashes: np.ndarray
) -> pa.StructArray:
    """Assemble N values of `SOURCE_TYPE`; ``file_index`` points into ``files``."""
    names = pa.DictionaryArray.from_arrays(pa.array(file_index, pa.int32()), pa.array(files, pa.string()))
    return pa.StructArray.from_arrays(
        [names, pa.array(row, pa.int64()), pa.array(part, pa.int32()), pa.array(parts, pa.int32()),
         pa.array(hashes, pa.uint64())],
        fields=list(SOURCE_TYPE),
    )  # fmt: skip
