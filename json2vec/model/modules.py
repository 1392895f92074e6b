"""The tree of modules that a schema describes, and editing it without losing what was learned.

Legend: N rows, B sequences of an array, L slots, P slots of a leaf in one row, S memory tokens, C d_model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as lit
import torch
from torch import nn

import json2vec.fields  # noqa: F401 - registers the field types
from json2vec.address import Address
from json2vec.errors import SchemaError
from json2vec.fields.registry import FieldType, Shape, field_type
from json2vec.fields.vocabulary import Vocabulary
from json2vec.nn.encoder import ArrayEncoder, Pool
from json2vec.schema import editing
from json2vec.schema.nodes import Array, Leaf, Node
from json2vec.schema.schema import Schema
from json2vec.schema.selectors import NodeView

Outputs = dict[str, torch.Tensor]


class LeafNode(nn.Module):
    """A leaf's embedder, and its decoder: pooling, then heads."""

    def __init__(self, leaf_type: FieldType, leaf: Leaf, shape: Shape) -> None:
        super().__init__()
        self.embedder = leaf_type.embedder(leaf, shape)
        self.decoder = leaf_type.decoder(leaf, shape)
        self.slots = shape.slots
        if leaf.pooling == "query":
            self.decoder.pool = Pool(shape.slots, shape.d_model, leaf.n_heads, leaf.n_linear, leaf.dropout or 0.0)

    def decode(self, memory: torch.Tensor) -> tuple[torch.Tensor, Outputs]:
        """The pooled vectors (N, P, C) and the heads' outputs, from a memory (N, S, C)."""
        pool = getattr(self.decoder, "pool", None)
        pooled = memory.mean(1, keepdim=True).expand(-1, self.slots, -1) if pool is None else pool(memory)
        return pooled, self.decoder(pooled)


class ArrayNode(nn.Module):
    """An array's encoder."""

    def __init__(self, array: Array, d_model: int) -> None:
        super().__init__()
        self.encoder = ArrayEncoder(
            d_model, array.n_heads, array.attention, array.n_layers, array.n_linear, array.dropout or 0.0
        )


class ModuleTree(lit.LightningModule):
    """One module a node, and the methods that edit the schema.

    Every edit builds the modules of the nodes whose options or shape changed and keeps, by name and shape, every
    tensor that fits: weights, normalisers, counters; and the vocabularies, as far as they have room. Modules of other
    nodes stay the very objects they were. An optimizer made before an edit does not know the new parameters.
    """

    schema: Schema

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        self.vocabularies: dict[Address, Vocabulary] = {}
        self.nodes = nn.ModuleDict()
        for address in schema.nodes:
            self.nodes[address] = _module(schema, address)
            if (vocabulary := _vocabulary(schema.nodes[address])) is not None:
                self.vocabularies[address] = vocabulary
        self.nodes.apply(_initialise)

    def select(self, *selectors: Any, include_root: bool = True) -> list[NodeView]:
        """The nodes that every selector means; see `json2vec.schema.editing.select`."""
        return editing.select(self.schema, *selectors, include_root=include_root)

    def update(self, *selectors: Any, include_root: bool = True, strict: bool = True, **values: Any) -> None:
        """Change options of the selected nodes; see `json2vec.schema.editing.update`.

        Raises:
            SchemaError: nothing selected, an unknown option, a bad value, or a fit or prediction is running.
        """
        self._become(editing.update(self.schema, *selectors, include_root=include_root, strict=strict, **values))

    @contextmanager
    def override(
        self, *selectors: Any, include_root: bool = True, strict: bool = True, **values: Any
    ) -> Iterator[None]:
        """`update` for the length of a ``with`` block.

        Afterwards the schema is as before; tensors that fit have what was learned inside the block, all others, and
        labels that found no room there, what they had before it.
        """
        schema, before = self.schema, dict(self.nodes.items())
        vocabularies = {address: list(vocabulary.labels) for address, vocabulary in self.vocabularies.items()}
        self.update(*selectors, include_root=include_root, strict=strict, **values)
        try:
            yield
        finally:
            inside = {address: module.state_dict() for address, module in self.nodes.items()}
            grown = dict(self.vocabularies)
            self._become(schema, before)
            for address, tensors in inside.items():
                _copy_fitting(tensors, self.nodes[address])
            for address, labels in vocabularies.items():
                learned = grown[address].labels
                kept = learned if learned[: len(labels)] == labels else labels
                self.vocabularies[address] = Vocabulary(self.vocabularies[address].capacity, kept)

    def extend(self, *selectors_and_fields: Any) -> None:
        """Add fields to the root or to the one selected array; see `json2vec.schema.editing.extend`."""
        self._become(editing.extend(self.schema, *selectors_and_fields))

    def delete(self, *selectors: Any) -> None:
        """Remove nodes with all that is below them; see `json2vec.schema.editing.delete`."""
        self._become(editing.delete(self.schema, *selectors))

    def reset(self, *selectors: Any, descendants: bool = False) -> None:
        """Make the modules of the selected nodes new: weights, normalisers, counters and vocabularies.

        Args:
            selectors: none selects every node.
            descendants: also everything below the selected nodes.

        Raises:
            SchemaError: the selectors mean no node.
        """
        chosen = editing.select(self.schema, *selectors)
        if not chosen:
            raise SchemaError(f"reset: {', '.join(map(repr, selectors))} matches no node")
        addresses = {view.address for view in chosen}
        if descendants:
            addresses |= {address for view in chosen for address in view.descendants}
        self._become(self.schema, fresh=addresses)

    def _become(
        self, schema: Schema, ready: dict[str, nn.Module] | None = None, *, fresh: Iterable[Address] = ()
    ) -> None:
        """Take on a schema.

        Args:
            ready: modules to use as they are, where given.
            fresh: nodes that keep nothing.

        Raises:
            SchemaError: a fit or prediction is running.
        """
        trainer = self._trainer
        if trainer is not None and trainer.state.status.value == "running":
            raise SchemaError(
                "the schema cannot be edited while the trainer is running: its optimizer and loaders would go on with "
                "the old one. Remedy: edit before or after trainer.fit"
            )
        fresh = set(fresh)
        modules, vocabularies = nn.ModuleDict(), {}
        for address, node in schema.nodes.items():
            # A ModuleDict has no get().
            old = self.nodes[address] if address in self.nodes and address not in fresh else None
            learned = None if address in fresh else self.vocabularies.get(address)
            if ready is not None and address in ready:
                modules[address], vocabulary = ready[address], _vocabulary(node, learned)
            elif old is not None and self._unchanged(schema, address):
                modules[address], vocabulary = old, learned
            else:
                module, vocabulary = _module(schema, address), _vocabulary(node, learned)
                module.apply(_initialise)
                module.to(self.device, self.dtype if isinstance(self.dtype, torch.dtype) else None)
                if old is not None and type(node) is type(self.schema.nodes[address]):
                    _copy_fitting(old.state_dict(), module)
                    _copy_frozen(old, module)
                modules[address] = module.train(self.training)
            if vocabulary is not None:
                vocabularies[address] = vocabulary
        self.nodes, self.vocabularies, self.schema = modules, vocabularies, schema

    def outside(self) -> dict[str, str]:
        """By address, a digest of what a node's predictions depend on beside its tensors and options.

        An embedder that reads something else, such as a language model, has a method ``outside() -> str``.
        """
        embedders: dict[str, Any] = {
            address: module.embedder for address, module in self.nodes.items() if isinstance(module, LeafNode)
        }
        return {
            str(address): embedder.outside() for address, embedder in embedders.items() if hasattr(embedder, "outside")
        }

    def _unchanged(self, schema: Schema, address: Address) -> bool:
        """Whether a node's module can stay: same options, and for a leaf the same slots."""
        old, new = self.schema.nodes.get(address), schema.nodes[address]
        if isinstance(old, Array) and isinstance(new, Array):
            return old.replace(fields=new.fields, masks=new.masks) == new
        return old == new and self.schema.slots(address) == schema.slots(address)


def _module(schema: Schema, address: Address) -> nn.Module:
    node = schema.nodes[address]
    if isinstance(node, Array):
        return ArrayNode(node, schema.d_model)
    assert isinstance(node, Leaf)
    return LeafNode(field_type(node), node, Shape(schema.d_model, schema.slots(address)))


def _vocabulary(node: Node, learned: Vocabulary | None = None) -> Vocabulary | None:
    """The vocabulary of a node, with the labels known so far while there is room; None where its type has none."""
    capacity = field_type(node).capacity if isinstance(node, Leaf) else None
    return None if capacity is None else Vocabulary(capacity(node), () if learned is None else learned.labels)


def _copy_fitting(tensors: dict[str, torch.Tensor], module: nn.Module) -> None:
    """Load the tensors whose name and shape the module has."""
    own = module.state_dict()
    module.load_state_dict(
        {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}, strict=False
    )


def _copy_frozen(old: nn.Module, new: nn.Module) -> None:
    """Leave parameters out of training that were left out before."""
    before = dict(old.named_parameters())
    for name, parameter in new.named_parameters():
        if name in before:
            parameter.requires_grad_(before[name].requires_grad)


def _initialise(module: nn.Module) -> None:
    """Tables N(0, 1); Lin weights and biases U(+-1/sqrt(fan_in)); LayerNorm 1 and 0: network.md section 7."""
    if isinstance(module, nn.Linear):
        bound = module.in_features**-0.5
        nn.init.uniform_(module.weight, -bound, bound)
        nn.init.uniform_(module.bias, -bound, bound)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight)
