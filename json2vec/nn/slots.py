"""Which tokens of an array's sequences stand for an item, for arrays with ``padding="skip"``.

Legend: B sequences, L tokens (slots of the array times its children).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Slots:
    """The tokens that are attended to; the others are left out.

    Attributes:
        valid_BL: bool (B, L), at least one True a sequence.
        items: how many slots the array has. Tokens lie child by child, so positions begin at 0 again after so many.
    """

    valid_BL: torch.Tensor
    items: int

    @classmethod
    def of(cls, occupied_BL: torch.Tensor, items: int) -> Slots:
        """From the slots that hold an item. An array without any is read as one padded item."""
        first = torch.arange(occupied_BL.shape[1], device=occupied_BL.device) % items == 0
        return cls(occupied_BL | (~occupied_BL.any(1, keepdim=True) & first), items)

    @classmethod
    def everywhere(cls, sequences: int, length: int, items: int) -> Slots:
        """Every token is attended to; what remains is where positions begin again."""
        return cls(torch.ones(sequences, length, dtype=torch.bool), items)

    def rows(self, index: torch.Tensor) -> Slots:
        """The tokens of the sequences that ``index`` chooses."""
        return Slots(self.valid_BL[index], self.items)
