"""Which slots of each array hold an item: what ``padding="skip"`` leaves out.

Legend: N rows, L slots of an array.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from json2vec.address import Address
from json2vec.batch import FieldBatch
from json2vec.enums import Tokens
from json2vec.schema.schema import Schema


def occupied(schema: Schema, fields: Mapping[Address, FieldBatch], size: int) -> dict[Address, torch.Tensor]:
    """For each array with inputs below it, bool (N times its places, L times its children): child by child, in the
    order of its tokens, leaves first.

    A slot of a leaf holds an item unless its state is padded. A slot of a nested array does if any slot below it does.
    """
    by_array: dict[Address, torch.Tensor] = {}
    for address in schema.deepest_first:
        places, length = size * schema.slots(address), schema.arrays[address].max_length
        below = [Address(address, child.name) for child in schema.arrays[address].fields]
        leaves = [fields[at].state != Tokens.padded for at in below if at in schema.inputs]
        arrays = [by_array[at].any(1) for at in below if at in by_array]
        if leaves or arrays:
            by_array[address] = torch.cat([slots.reshape(places, length) for slots in leaves + arrays], dim=1)
    return by_array


def skips(schema: Schema) -> bool:
    """Whether any array of the schema leaves padding out."""
    return any(array.padding == "skip" for array in schema.arrays.values())
