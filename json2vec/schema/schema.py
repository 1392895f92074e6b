"""The schema tree: arrays and leaves as pure, frozen values. No torch here.

The options of the concrete leaves (`Number`, `Category`, ...) stand with their field types in `json2vec.fields`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from json2vec.address import Address
from json2vec.errors import SchemaError
from json2vec.schema.nodes import LEAF_TYPES, Array, Leaf, Mask, Node, node_of, walk
from json2vec.schema.options import Options
from json2vec.schema.queries import Query, default_query, parse_query
from json2vec.schema.selectors import matching


class Schema(Options):
    """A whole tree: the root array and the width of every vector.

    Args:
        root: the root array; its max_length is 1.
        d_model: features of a vector.
    """

    root: Array
    d_model: int = Field(gt=0)

    @classmethod
    def from_schema(
        cls, *field_args: Node, d_model: int, n_layers: int, n_heads: int, fields: Any = None, name: str = "record",
        description: str | None = None, embed: bool = False, attention: str = "mha", n_linear: int = 1,
        dropout: float | None = None,
    ) -> Schema:  # fmt: skip
        """Build a tree; n_layers, n_heads, attention, n_linear and dropout configure the root array alone."""
        children = tuple(field_args) or tuple(fields or ())
        if field_args and fields:
            raise SchemaError("give the fields positionally or as fields=, not both")
        if not children:
            raise SchemaError("a schema needs at least one field")
        root = Array(
            *children, name=name, description=description, embed=embed, n_layers=n_layers, n_heads=n_heads,
            attention=attention, n_linear=n_linear, dropout=dropout, max_length=1, overflow="error",
        )  # fmt: skip
        return cls(root=root, d_model=d_model)

    @field_validator("root", mode="before")
    @classmethod
    def _root(cls, value: Any) -> Any:
        return node_of(value)

    @field_validator("root")
    @classmethod
    def _plain_masks(cls, root: Array) -> Array:
        return _with_plain_masks(root, Address(root.name), walk(root))

    @model_validator(mode="after")
    def _bound(self) -> Self:
        if self.root.max_length != 1 or self.root.masks:
            raise ValueError("the root array has max_length 1 and no masks")
        for address, array in self.arrays.items():
            self._check_heads(address, array)
            below = [leaf for at, leaf in self.leaves.items() if at.startswith(f"{address}/")]
            if not any(leaf.active for leaf in below):
                raise ValueError(f"{address}: an array needs at least one active leaf below it")
            for mask in array.masks:
                self._check_mask(address, mask)
        for address, leaf in self.leaves.items():
            if leaf.pooling == "query":
                self._check_heads(address, leaf)
            if self.slots(address) < leaf.min_slots:
                raise ValueError(
                    f"{address}: a field of type {leaf.type!r} needs at least {leaf.min_slots} slots; "
                    f"it has {self.slots(address)}. Remedy: put it into an array"
                )
            self.query(address)
        return self

    def _check_mask(self, address: Address, mask: Mask) -> None:
        below = {at: leaf for at, leaf in self.leaves.items() if at.startswith(f"{address}/")}
        for excluded in mask.exclude:
            if not any(excluded in (at, at.name) for at in below):
                raise ValueError(f"{address}: the mask excludes {excluded!r}, which is no leaf below the array")
        if all(at in mask.exclude or at.name in mask.exclude for at, leaf in below.items() if leaf.active):
            raise ValueError(f"{address}: a mask may not exclude every active leaf")

    def _check_heads(self, address: Address, node: Node) -> None:
        if self.d_model % node.n_heads or self.d_model // node.n_heads < 2:
            raise ValueError(
                f"{address}: d_model {self.d_model} must be a multiple of n_heads {node.n_heads}, with at least "
                "2 features a head. Remedy: set n_heads on this node"
            )

    @cached_property
    def nodes(self) -> dict[Address, Node]:
        """Every node by address, parents before their children, in schema order."""
        return walk(self.root)

    @cached_property
    def leaves(self) -> dict[Address, Leaf]:
        return {address: node for address, node in self.nodes.items() if isinstance(node, Leaf)}

    @cached_property
    def active(self) -> dict[Address, Leaf]:
        return {address: leaf for address, leaf in self.leaves.items() if leaf.active}

    @cached_property
    def inputs(self) -> dict[Address, Leaf]:
        """Active leaves that are read in prediction."""
        return {address: leaf for address, leaf in self.active.items() if not leaf.target}

    @cached_property
    def arrays(self) -> dict[Address, Array]:
        return {address: node for address, node in self.nodes.items() if isinstance(node, Array)}

    @property
    def target(self) -> list[Address]:
        return [address for address, leaf in self.active.items() if leaf.target]

    @property
    def embed(self) -> list[Address]:
        """Nodes whose vectors are emitted: arrays, deepest first, then leaves in schema order."""
        arrays = [address for address in self.deepest_first if self.arrays[address].embed]
        return arrays + [address for address, leaf in self.active.items() if leaf.embed]

    @cached_property
    def deepest_first(self) -> list[Address]:
        """Arrays, deepest level first, in schema order within a level."""
        return sorted(self.arrays, key=lambda address: -len(address.parts))

    def above(self, address: Address) -> list[Address]:
        """The arrays above a node, from the root down to its parent."""
        parts = address.parts
        return [Address(*parts[:n]) for n in range(1, len(parts))]

    def shape(self, address: Address) -> tuple[int, ...]:
        """(1, L1, L2, ...): the lengths of the arrays above a leaf, the root's first."""
        return tuple(self.arrays[array].max_length for array in self.above(address))

    def slots(self, address: Address) -> int:
        """P, the product of `shape`: slots of a leaf, or places of an array, in one row."""
        product = 1
        for length in self.shape(address):
            product *= length
        return product

    def query(self, address: Address) -> Query:
        leaf, names = self.leaves[address], address.parts[1:]
        if leaf.query is None:
            return default_query(names)
        return parse_query(leaf.query, arrays_above=len(names) - 1, where=address)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schema:
        return cls(**values)


def _with_plain_masks(array: Array, at: Address, nodes: dict[Address, Node]) -> Array:
    """The array with every selector in its masks replaced by the addresses of the leaves it means."""
    masks = tuple(_plain_mask(mask, at, nodes) for mask in array.masks)
    fields = tuple(
        _with_plain_masks(child, Address(at, child.name), nodes) if isinstance(child, Array) else child
        for child in array.fields
    )
    same = all(new is old for new, old in zip(masks + fields, array.masks + array.fields, strict=True))
    return array if same else array.replace(masks=masks, fields=fields)


def _plain_mask(mask: Mask, at: Address, nodes: dict[Address, Node]) -> Mask:
    if all(isinstance(excluded, str) for excluded in mask.exclude):
        return mask
    exclude: list[str] = []
    for excluded in mask.exclude:
        if isinstance(excluded, str):
            exclude.append(excluded)
            continue
        option_names = {name for options in LEAF_TYPES.values() for name in options.model_fields}
        leaves = [view.address for view in matching(nodes, [excluded], extra_attributes=option_names)
                  if isinstance(view.node, Leaf) and view.address.startswith(f"{at}/")]  # fmt: skip
        if not leaves:
            raise SchemaError(f"{at}: the mask excludes {excluded!r}, which is no leaf below the array")
        exclude += [str(leaf) for leaf in leaves if leaf not in exclude]
    return mask.replace(exclude=tuple(exclude))


