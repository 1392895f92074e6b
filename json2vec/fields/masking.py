"""Hiding slots in training, so that the model learns to reconstruct them.

Legend: N rows, (N, 1, L1, L2, ...) the shape of a leaf's state.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from json2vec.address import Address
from json2vec.batch import Batch, FieldBatch
from json2vec.enums import Strata, Tokens
from json2vec.fields.encode import empty_field
from json2vec.fields.registry import field_type
from json2vec.schema.nodes import Leaf, Mask
from json2vec.schema.schema import Schema


def mask_batch(batch: Batch, schema: Schema, strata: Strata) -> Batch:
    """Apply training noise (in ``train``), p_mask, p_prune and array masks. All draws see the unmasked batch."""
    fields = {}
    for address, field in batch.fields.items():
        leaf = schema.leaves[address]
        perturb = field_type(leaf).perturb
        if strata is Strata.train and perturb is not None:
            field = replace(field, content=perturb(field.content, field.state, leaf))
        selected = select(field.state, schema, address, leaf)
        fields[address] = hide(field, leaf, selected) if selected is not None else field
    return replace(batch, fields=fields)


def trains(schema: Schema, address: Address) -> bool:
    """Whether `mask_batch` may hide slots of this leaf; known from the schema alone."""
    return schema.leaves[address].trained or bool(_masks(schema, address))


def select(state: torch.Tensor, schema: Schema, address: Address, leaf: Leaf) -> torch.Tensor | None:
    """bool, shape of ``state``: slots to hide; None where the schema hides none."""
    if not trains(schema, address):
        return None
    selected = torch.zeros_like(state, dtype=torch.bool)
    if leaf.p_mask:
        selected |= torch.rand(state.shape) < leaf.p_mask
    if leaf.p_prune:
        rows = torch.rand(state.shape[0]) < leaf.p_prune
        selected |= rows.view(-1, *[1] * (state.dim() - 1))
    for level, mask in _masks(schema, address):
        selected |= _select_items(state, level, mask)
    return selected


def hide(field: FieldBatch, leaf: Leaf, selected: torch.Tensor) -> FieldBatch:
    """Hide the selected slots and remember what was there."""
    blank = empty_field(leaf, (1,) * field.state.dim(), Tokens.masked)
    content = {
        key: torch.where(_extend(selected, value.dim()), blank.content[key], value)
        for key, value in field.content.items()
    }
    return FieldBatch(
        state=torch.where(selected, Tokens.masked, field.state),
        content=content,
        trainable=selected,
        target_state=field.state,
        target_content=field.content,
    )


def _extend(selected: torch.Tensor, dims: int) -> torch.Tensor:
    return selected.reshape(*selected.shape, *[1] * (dims - selected.dim()))


def _masks(schema: Schema, address: Address) -> list[tuple[int, Mask]]:
    """(axis of the array in the leaf's state, mask) for every mask that does not exclude the leaf."""
    return [
        (level, mask)
        for level, array in enumerate(schema.above(address), start=1)
        for mask in schema.arrays[array].masks
        if address not in mask.exclude and address.name not in mask.exclude
    ]


def _select_items(state: torch.Tensor, axis: int, mask: Mask) -> torch.Tensor:
    """Draw items of the array at ``axis``; an item is there when any of its slots is not padded."""
    there = state != Tokens.padded
    if axis + 1 < state.dim():
        there = there.flatten(axis + 1).any(-1)
    length = there.shape[-1]
    extent = torch.full(there.shape[:-1], length) if mask.array else there.sum(-1)
    if mask.window is None:
        low, high = (mask.offset, extent) if mask.start else (0, extent - mask.offset)
    elif mask.start:
        low, high = mask.offset, torch.full_like(extent, mask.offset + mask.window)
    else:
        low, high = extent - mask.offset - mask.window, extent - mask.offset
    position = torch.arange(length)
    low = low.unsqueeze(-1) if isinstance(low, torch.Tensor) else low
    candidates = there & (position >= low) & (position < high.unsqueeze(-1))
    draws = torch.rand(there.shape)
    if mask.rate is not None:
        chosen = candidates & (draws < mask.rate)
    else:
        assert mask.count is not None
        # The count smallest draws among the candidates.
        ranks = draws.masked_fill(~candidates, 2.0).argsort(-1).argsort(-1)
        chosen = candidates & (ranks < mask.count)
    return _extend(chosen, state.dim()).expand_as(state)
