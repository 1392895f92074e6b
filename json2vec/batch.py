"""What flows from the readers to the writer: `RowBatch` (Arrow rows and where they came from) and `Batch` (tensors).

Shapes: N rows, L1, L2, ... the lengths of the arrays above a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from json2vec.address import Address
from json2vec.reading.row_batch import RowBatch

if TYPE_CHECKING:
    import torch



@dataclass
class FieldBatch:
    """One encoded leaf.

    Attributes:
        state: int64 (N, 1, L1, L2, ...), values of `Tokens`.
        content: what the field type defines, in tensors that begin with the shape of ``state``.
        trainable: bool, shape of ``state``: slots whose original value is to be reconstructed; None where no slot is.
        target_state: the state before hiding; None where nothing was hidden.
        target_content: the content before hiding; None where nothing was hidden.
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
        size: N, the number of rows.
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
        return sum(tensor.nbytes for leaf in fields for tensor in (leaf.state, *leaf.content.values()))

    def to(self, device: torch.device | str, non_blocking: bool | None = None) -> Batch:
        """The batch with its tensors on ``device``; Arrow rows stay in host memory.

        Args:
            device: where the tensors go.
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
        return replace(self, fields={address: leaf.map(function) for address, leaf in self.fields.items()})


