"""What a forward pass in prediction gives: `Predictions`, on their way from tensors to Arrow columns.

Legend: N rows, P slots of a leaf, C d_model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from json2vec.address import Address
from json2vec.fields.registry import field_type
from json2vec.fields.values import uniform, uniform_type
from json2vec.fields.vocabulary import NO_VOCABULARY, Vocabulary
from json2vec.schema.nodes import Leaf
from json2vec.schema.schema import Schema

EMBEDDING = "embedding"


@dataclass
class Predictions:
    """The predictions of one batch.

    Attributes:
        emitted: by address, tensors as the field's ``emit`` gave them; ``embedding`` holds the node's vector,
            (N, C), (N, P, C) or (N, L1, ..., C).
        schema: the schema of the model, whose addresses name the columns.
        vocabularies: the labels that the model knows, by address of the leaf; they type the columns.
        size: N, the number of rows.
    """

    emitted: dict[Address, dict[str, torch.Tensor]]
    schema: Schema
    vocabularies: Mapping[Address, Vocabulary]
    size: int

    def cpu(self) -> Predictions:
        """The same with every tensor in host memory; one wait for the device."""

        def start_copy(tensor: torch.Tensor) -> torch.Tensor:
            dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
            return tensor.detach().to("cpu", dtype, non_blocking=tensor.is_cuda)

        moved = {
            address: {key: start_copy(tensor) for key, tensor in tensors.items()}
            for address, tensors in self.emitted.items()
        }
        devices = {tensor.device for tensors in self.emitted.values() for tensor in tensors.values() if tensor.is_cuda}
        for device in devices:
            torch.cuda.current_stream(device).synchronize()
        return Predictions(moved, self.schema, self.vocabularies, self.size)

    @classmethod
    def join(cls, parts: list[Predictions]) -> Predictions:
        """The predictions of consecutive parts of a batch, at least one, as one."""
        first = parts[0]
        joined = {
            address: {key: torch.cat([part.emitted[address][key] for part in parts]) for key in tensors}
            for address, tensors in first.emitted.items()
        }
        return cls(joined, first.schema, first.vocabularies, sum(part.size for part in parts))

    def columns(self) -> pa.StructArray:
        """One struct a row, with a child for every address, in the order of `output_type`."""
        children = []
        for address, tensors in self.cpu().emitted.items():
            arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
            payload: dict[str, pa.Array] = {}
            leaf = self.schema.leaves.get(address)
            if leaf is not None:
                write = field_type(leaf).write
                assert write is not None
                payload |= write(arrays, leaf, self._vocabulary(address))
            if EMBEDDING in arrays:
                payload[EMBEDDING] = uniform(arrays[EMBEDDING], arrays[EMBEDDING].shape)
            children.append(struct(payload, self.size))
        return struct(dict(zip(self.emitted, children, strict=True)), self.size)

    def to_python(self) -> dict[Address, dict[str, Any]]:
        """Plain dicts of row-aligned lists, for postprocessors and interactive use."""
        return python_view(self.columns())

    def _vocabulary(self, address: Address) -> Vocabulary:
        return self.vocabularies.get(address, NO_VOCABULARY)


def output_type(
    schema: Schema, vocabularies: Mapping[Address, Vocabulary], addresses: list[Address], embedded: list[Address]
) -> pa.StructType:
    """Type of the ``predictions`` column, known before any row.

    Args:
        schema: the schema of the model.
        vocabularies: the labels that the model knows, by address of the leaf.
        addresses: nodes in the order they are written.
        embedded: those of them that carry an ``embedding``.
    """
    children = []
    for address in addresses:
        payload: dict[str, pa.DataType] = {}
        if address in schema.leaves:
            leaf: Leaf = schema.leaves[address]
            written = field_type(leaf).output_type
            assert written is not None
            payload |= written(leaf, schema.slots(address), vocabularies.get(address, NO_VOCABULARY))
            axes = (schema.slots(address), schema.d_model)
        else:
            axes = (*schema.shape(address)[1:], schema.d_model)
        if address in embedded:
            payload[EMBEDDING] = uniform_type(pa.float32(), axes)
        children.append(pa.field(address, pa.struct(list(payload.items()))))
    return pa.struct(children)


def struct(children: dict[str, pa.Array], size: int) -> pa.StructArray:
    """A struct array; without children, ``size`` empty structs."""
    if not children:
        return pa.array([{}] * size, pa.struct([]))
    return pa.StructArray.from_arrays(
        list(children.values()), fields=[pa.field(str(name), child.type) for name, child in children.items()]
    )


def python_view(columns: pa.StructArray) -> dict[Address, dict[str, Any]]:
    """A ``predictions`` column as plain dicts of row-aligned lists, by address."""
    return {Address(name): column for name, column in to_python(columns).items()}


def to_python(array: pa.Array) -> Any:
    """Structs to dicts of columns, everything else to one list entry a row."""
    if pa.types.is_struct(array.type):
        return {array.type.field(index).name: to_python(array.field(index)) for index in range(array.type.num_fields)}
    shape, inner = [len(array)], array
    while pa.types.is_list(inner.type) and len(inner):
        lengths = np.diff(inner.offsets.to_numpy())
        if inner.null_count or (lengths != lengths[0]).any():
            return array.to_pylist(maps_as_pydicts="strict")
        shape.append(int(lengths[0]))
        inner = inner.flatten()
    # Twenty times as fast as to_pylist, which makes a scalar of every value.
    if 0 in shape:
        return np.empty(shape).tolist()
    if (pa.types.is_floating(inner.type) or pa.types.is_integer(inner.type)) and not inner.null_count:
        return inner.to_numpy().reshape(shape).tolist()
    if pa.types.is_string(inner.type):
        return inner.to_numpy(zero_copy_only=False).reshape(shape).tolist()
    return array.to_pylist(maps_as_pydicts="strict")
